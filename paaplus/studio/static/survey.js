// A survey: the first wrong answer is in view, nothing filled in is lost, and without a connection nothing is sent.

import { say, text } from "./common.js";

const form = document.getElementById("survey");
const offline = document.getElementById("offline");
let isChanged = false;

const showConnection = () => { offline.hidden = navigator.onLine; };
window.addEventListener("online", showConnection);
window.addEventListener("offline", showConnection);
showConnection();

document.querySelector("fieldset.wrong input, fieldset.wrong select")?.focus();
form.addEventListener("change", (event) => {
  isChanged = true;
  const field = event.target.closest("fieldset.wrong");
  field?.classList.remove("wrong");
  field?.querySelector(".problem")?.remove();
});
form.addEventListener("submit", (event) => {
  if (!navigator.onLine) {
    event.preventDefault();
    say(text("survey.offline"));
    return;
  }
  isChanged = false;
});
window.addEventListener("beforeunload", (event) => { if (isChanged) event.preventDefault(); });
