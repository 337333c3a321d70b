// Watch: previews of changes, lists that stay fresh.

import { ask, element, picture } from "./common.js";

const find = (id) => document.getElementById(id);

// --- One person: what would change if another version were active, and how any two differ.
const chosen = find("chosen");
if (chosen) {
  const { user, active, selected, text, none, loading } = chosen.dataset;
  const against = find("against");
  let radio = null;
  let asked = 0;

  async function compare() {
    const mine = ++asked;
    find("selected").textContent = selected.replace("{version}", radio.dataset.label).replace("{active}", against.selectedOptions[0].textContent.split(" · ")[0]);
    find("change-form").hidden = against.value !== active; // what would change is what is shown
    find("preview").replaceChildren();
    find("preview-text").textContent = loading;
    const found = await ask(`/watch/people/${user}/preview?from=${against.value}&to=${radio.value}`).catch((failure) => ({ message: failure.message }));
    if (mine !== asked) return;
    if (found.message) { find("preview-text").textContent = found.message; return; }
    const changed = found.items.filter((each) => each.before !== each.after);
    find("preview-text").textContent = changed.length ? text.replace("{number}", changed.length).replace("{of}", found.num_compared) : none;
    find("preview").replaceChildren(...changed.map((each) => element("li", {}, picture(each, 256, { title: each.name }),
      element("span", {}, `${each.before.toFixed(1)} → `, element("b", { textContent: each.after.toFixed(1) })))));
  }

  document.getElementsByName("version").forEach((each) => each.addEventListener("change", () => {
    radio = each;
    against.value = active;
    chosen.hidden = false;
    find("choose").hidden = true;
    find("to").value = radio.value;
    for (const act of ["promote", "pin"]) chosen.querySelector(`[data-act="${act}"]`).hidden = radio.value === "base";
    chosen.querySelector('[data-act="rollback"]').hidden = active === "base";
    compare();
    chosen.scrollIntoView({ block: "nearest" });
  }));
  against.addEventListener("change", compare);
  find("exclude").addEventListener("change", (event) => { find("feedback").value = event.target.checked ? "exclude" : "keep"; });
}

// --- A list that stays fresh, while the page is looked at.
const live = find("live");
if (live) {
  setInterval(async () => {
    if (document.hidden || live.querySelector("details[open]")) return;
    const answer = await fetch(window.location.href, { headers: { Accept: "text/html" } }).catch(() => null);
    if (!answer?.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
    if (fresh) live.replaceChildren(...fresh.children);
  }, 1000 * Number(live.dataset.every));
}

// --- A link to copy.
find("copy")?.addEventListener("click", async (event) => {
  find("link").select();
  await navigator.clipboard?.writeText(find("link").value).catch(() => {});
  event.target.textContent = event.target.dataset.copied;
});

// --- A form of choices that is sent when one is made.
find("auto")?.addEventListener("change", (event) => {
  const form = find("auto");
  if (event.target.name === "run") for (const name of ["document", "metric"]) form.elements[name]?.setAttribute("disabled", "");
  form.submit();
});

// --- On a phone the tabs scroll: the one that is shown is in sight.
const tab = document.querySelector(".tabs [aria-current]");
if (tab) tab.parentElement.scrollLeft = tab.offsetLeft - (tab.parentElement.clientWidth - tab.offsetWidth) / 2;
