// Match: a short quiz of pairs, then with whom the person is matched, and why.

import { ask, element, getReady, isReady, picture, say, text, url } from "./common.js";
import { newId, Sender } from "./sending.js";

const find = (id) => document.getElementById(id);
const stage = find("stage");
const answers = find("answers");
const sender = new Sender("/match/answers", find("offline"), "/match/");
let quiz = null;
let isSending = false;

function show(elements, isTwo) {
  stage.setAttribute("aria-busy", "false");
  stage.classList.toggle("two", isTwo);
  stage.classList.toggle("plain-stage", !isTwo);
  stage.replaceChildren(...elements);
  find("keys").hidden = !isTwo;
  if (isTwo) getReady(stage, [...stage.querySelectorAll("img")]);
}

function button(key, act, className = "") {
  const made = element("button", { className, textContent: text(key) });
  made.addEventListener("click", act);
  return made;
}

function drawPair() {
  const { pair } = quiz;
  const side = (photo, preference, label, key) => {
    const made = element("button", { className: "pair", "aria-label": `${label}: ${photo.name}` }, picture(photo, 1024, { alt: "" }), element("kbd", { textContent: key }));
    made.addEventListener("click", () => choose(preference));
    return made;
  };
  show([side(pair.first, "first", text("rate.prefer_first"), "←"), side(pair.second, "second", text("rate.prefer_second"), "→")], true);
  find("why").textContent = text("match.why", { bits: (pair.nats / Math.LN2).toFixed(2) });
  answers.replaceChildren(button("rate.tie", () => choose("tie"), "plain"), button("rate.cannot_say", () => choose("cannot_say"), "plain"));
  find("progress").replaceChildren(element("span", { textContent: text("match.progress", { done: quiz.num_answered, most: quiz.max_pairs }) }));
}

async function choose(preference) {
  if (isSending || !quiz?.pair || !isReady(stage)) return;
  isSending = true;
  try {
    const found = await sender.send({ position: quiz.pair.position, preference, event_id: newId() });
    quiz = found.quiz;
    if (quiz.finished) await matchNow();
    else drawPair();
  } catch (failure) {
    say(failure.message);
    await load();
  } finally {
    isSending = false;
  }
}

async function matchNow() {
  message("match.working");
  const found = await ask("/match/choose", {});
  drawMatch(found.match);
}

async function begin() {
  message("match.loading");
  try {
    quiz = (await ask("/match/quiz", {})).quiz;
    if (quiz.finished || !quiz.pair) await matchNow();
    else drawPair();
  } catch (failure) {
    failed(failure);
  }
}

function message(key) {
  show([element("p", { className: "stage-loading", textContent: text(key) })], false);
  find("why").textContent = "\u00a0";
  find("progress").textContent = "\u00a0";
  answers.replaceChildren();
}

function drawIntro() {
  show([element("div", { className: "empty" }, element("h2", { textContent: text("match.intro.title") }), element("p", { textContent: text("match.intro.text") }), button("match.begin", begin, "primary"))], false);
}

const agreed = ([right, number]) => ({ right, number });

/** With whom and why: each expert's share of the starting point, and on how many pairs the two agreed. */
function drawMatch(match) {
  if (!match) return drawIntro();
  const names = match.experts.map((each) => each.name);
  const title = text(match.kind === "expert" ? "match.with.expert" : match.kind === "combination" ? "match.with.combination" : "match.with.generic", { name: names[0] ?? "", number: match.experts.length });
  const list = element("ol", { className: "experts" }, ...match.experts.map((each) => {
    const bar = element("progress", { max: 1, value: each.share, "aria-label": text("match.share", { name: each.name }) });
    const facts = [each.domain, text(each.is_opposite ? "match.opposite" : "match.percent", { percent: Math.round(100 * each.share) })];
    if (each.agreed?.[1]) facts.push(text("match.agreed", agreed(each.agreed)));
    return element("li", {}, element("strong", { textContent: each.name }), element("span", { className: "quiet", textContent: facts.join(" · ") }), bar);
  }));
  const why = [];
  if (match.sure !== null && match.sure !== undefined) why.push(text("match.sure", { percent: Math.round(100 * match.sure) }));
  why.push(text("match.from", { pairs: match.num_comparisons, ratings: match.num_ratings }));
  const what = match.stale ? "match.stale" : match.is_live ? "match.live" : match.version === null ? "match.later" : "match.waits";
  const buttons = element("div", { className: "row wrap centre" }, element("a", { className: "button primary", href: url("/order"), textContent: text("match.order") }), button("match.again", begin));
  show([element("div", { className: "match-card" }, element("h2", { textContent: title }), ...(match.experts.length ? [list] : []), element("p", { textContent: why.join(" ") }), element("p", { className: "quiet", textContent: text(what) }), buttons)], false);
  find("why").textContent = "\u00a0";
  find("progress").textContent = "\u00a0";
  answers.replaceChildren();
}

async function load() {
  const found = await ask("/match/state");
  quiz = found.quiz;
  if (quiz && !quiz.finished && quiz.pair) drawPair();
  else if (found.match) drawMatch(found.match);
  else if (quiz?.finished) await matchNow();
  else drawIntro();
}

function failed(failure) {
  const isNothingLeft = failure.status === 409; // trying again does not help: go on with photos of one's own
  const next = isNothingLeft ? element("a", { className: "button primary", href: url("/rate"), textContent: text("match.rate") }) : button("error.retry", () => load().catch(failed), "primary");
  show([element("div", { className: "empty" }, element("h2", { textContent: text("match.cannot") }), element("p", { textContent: isNothingLeft ? text("match.nothing") : failure.message }), next)], false);
  find("why").textContent = "\u00a0";
  answers.replaceChildren();
}

document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || !quiz?.pair || !stage.classList.contains("two")) return;
  const preference = { arrowleft: "first", arrowright: "second", arrowup: "tie", arrowdown: "cannot_say" }[event.key.toLowerCase()];
  if (!preference) return;
  event.preventDefault();
  choose(preference);
});
window.addEventListener("beforeunload", (event) => { if (sender.isLosing) event.preventDefault(); });

sender.resume().then(load).catch(failed); // an answer that waited is one less to give
