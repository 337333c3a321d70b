// What all pages share: texts, requests with the session's token, a short message.

export const meta = (name) => document.querySelector(`meta[name="studio-${name}"]`).content;
const token = meta("token");
const base = meta("base");
const texts = JSON.parse(document.getElementById("texts")?.textContent ?? "{}");

export function text(key, values = {}) {
  return (texts[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** The address of a page, a picture or a question of the studio, which may be behind a path prefix. */
export const url = (path) => `${base}${path}`;

/** A request of the page to the studio. It throws an error that has the answer's status; 0: no connection. */
export async function ask(path, body) {
  const options = { headers: { Accept: "application/json" }, credentials: "same-origin" };
  if (body instanceof FormData) {
    Object.assign(options, { method: "POST", body });
  } else if (body !== undefined) {
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
    options.headers["Content-Type"] = "application/json";
  }
  if (options.method) options.headers["X-Studio-Token"] = token;
  let answer;
  try {
    answer = await fetch(url(path), options);
  } catch (failure) {
    throw Object.assign(new Error(text("error.network")), { status: 0 });
  }
  if (answer.status === 401) signedOut();
  const data = await answer.json().catch(() => ({}));
  if (!answer.ok) throw Object.assign(new Error(data.error?.message ?? answer.statusText), { status: answer.status });
  return data;
}

/** The session has ended: to the sign-in, which says how many answers of this person wait in the browser. */
function signedOut() {
  const prefix = `studio.unsent.${meta("person")}.`;
  try {
    sessionStorage.setItem("studio.unsent", Object.keys(localStorage).filter((key) => key.startsWith(prefix)).length);
  } catch (failure) { /* the browser keeps nothing */ }
  window.location.assign(url("/"));
}

/** An element with properties and children; text is always text. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role") made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children);
  return made;
}

export const thumbnail = (id, size) => url(`/thumbnails/${id}?size=${size}`);

export function picture(photo, size, properties = {}) {
  return element("img", { src: thumbnail(photo.id, size), width: photo.width, height: photo.height, alt: photo.name, decoding: "async", ...properties });
}

export function icon(path, box = 24) {
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  drawing.setAttribute("viewBox", `0 0 ${box} ${box}`);
  drawing.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", path);
  drawing.append(line);
  return drawing;
}

let hiding;
export function say(message) {
  const toast = document.getElementById("toast");
  toast.textContent = message;
  toast.classList.add("on");
  clearTimeout(hiding);
  hiding = setTimeout(() => toast.classList.remove("on"), Math.max(2600, 60 * message.length));
}

/** Move elements from where they were to where they are now, visibly. `before`: their places by element. */
export function moveFrom(before, elements, className) {
  for (const each of elements) {
    const old = before.get(each);
    if (!old) continue;
    const now = each.getBoundingClientRect();
    const [x, y] = [old.left - now.left, old.top - now.top];
    if (!x && !y) continue;
    each.classList.remove(className);
    each.style.transform = `translate(${x}px, ${y}px)`;
  }
  requestAnimationFrame(() => requestAnimationFrame(() => {
    for (const each of elements) {
      each.classList.add(className);
      each.style.transform = "";
    }
  }));
}

const PAUSE_MS = 250; // a doubled press is no second answer
const turns = new WeakMap();

/** Take no answer before the pictures of a question are there and a doubled press is over; say so where it takes long. */
export function getReady(stage, images) {
  const turn = Symbol("turn");
  turns.set(stage, turn);
  const isNow = () => turns.get(stage) === turn;
  stage.dataset.ready = "no";
  stage.classList.remove("slow");
  const slow = setTimeout(() => { if (isNow()) stage.classList.add("slow"); }, 2 * PAUSE_MS);
  const pause = new Promise((resume) => setTimeout(resume, PAUSE_MS));
  const loaded = images.map((each) => each.decode().catch(() => {})); // one that cannot be had is no reason to wait
  Promise.all(loaded).then(() => { clearTimeout(slow); if (isNow()) stage.classList.remove("slow"); });
  Promise.all([...loaded, pause]).then(() => { if (isNow()) stage.dataset.ready = "yes"; });
}

export const isReady = (stage) => stage.dataset.ready === "yes";

export const places = (elements) => new Map([...elements].map((each) => [each, each.getBoundingClientRect()]));

// A menu closes when something else is clicked, and with Escape.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
});
