// The sign-in, to which a page of a session that has ended leads: answers that were not sent are kept.

const line = document.getElementById("unsent");
const number = Number(sessionStorage.getItem("studio.unsent"));
sessionStorage.removeItem("studio.unsent");
if (line && number) {
  line.textContent = line.dataset.text.replace("{number}", number);
  line.hidden = false;
}
