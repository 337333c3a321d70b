// Watch: more people when the end of the list is near, previews of changes, lists that stay fresh.

import { ask, element, picture, url } from "./common.js";

const find = (id) => document.getElementById(id);

// --- The list of people: the next page is loaded when its end comes near.
const people = find("people");
if (people) {
  const more = find("more");
  let isLoading = false;
  const cell = (content, className = "") => element("td", { className, textContent: content });
  const line = (person) => {
    const quality = element("td", { className: "error" });
    if (!person.error) quality.append(element("span", { className: "quiet", textContent: "–" }));
    else quality.append(element("b", { textContent: person.error[0].toFixed(1) }), " ", element("span", { className: "quiet", textContent: `(${person.error[1].toFixed(1)})` }));
    const tags = element("td", { className: "wide-only" });
    if (person.pinned) tags.append(element("span", { className: "tag", textContent: people.dataset.pinned }));
    if (person.due) tags.append(element("span", { className: "tag", textContent: people.dataset.due }));
    return element("tr", {},
      element("th", { scope: "row" }, element("a", { href: url(`/watch/people/${person.id}`), textContent: person.name })),
      cell(person.application, "wide-only"), cell(person.version ?? people.dataset.base), quality, cell(person.events, "number"), cell(person.pending, "number wide-only"), tags);
  };
  const watcher = new IntersectionObserver(async ([entry]) => {
    if (!entry.isIntersecting || isLoading || !people.dataset.following) return;
    isLoading = true;
    const found = await ask(`/watch/people?after=${people.dataset.following}`).catch(() => null);
    isLoading = false;
    if (!found) return;
    people.tBodies[0].append(...found.items.map(line));
    people.dataset.following = found.following ?? "";
    more.hidden = !found.following;
    watcher.unobserve(more);
    watcher.observe(more);
  }, { rootMargin: "800px" });
  watcher.observe(more);
}

// --- One person: what would change if another version were active.
const chosen = find("chosen");
if (chosen) {
  let asked = 0;
  document.getElementsByName("version").forEach((radio) => radio.addEventListener("change", async () => {
    const mine = ++asked;
    const { user, active, activeLabel, selected, text, none, loading } = chosen.dataset;
    chosen.hidden = false;
    find("choose").hidden = true;
    find("to").value = radio.value;
    find("selected").textContent = selected.replace("{version}", radio.dataset.label).replace("{active}", activeLabel);
    for (const act of ["promote", "pin"]) chosen.querySelector(`[data-act="${act}"]`).hidden = radio.value === "base";
    chosen.querySelector('[data-act="rollback"]').hidden = active === "base";
    find("preview").replaceChildren();
    find("preview-text").textContent = loading;
    chosen.scrollIntoView({ block: "nearest" });
    const found = await ask(`/watch/people/${user}/preview?from=${active}&to=${radio.value}`).catch((failure) => ({ message: failure.message }));
    if (mine !== asked) return;
    if (found.message) { find("preview-text").textContent = found.message; return; }
    const changed = found.items.filter((each) => each.before !== each.after);
    find("preview-text").textContent = changed.length ? text.replace("{number}", changed.length).replace("{of}", found.num_compared) : none;
    find("preview").replaceChildren(...changed.map((each) => element("li", {}, picture(each, 256, { title: each.name }),
      element("span", {}, `${each.before.toFixed(1)} → `, element("b", { textContent: each.after.toFixed(1) })))));
  }));
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
