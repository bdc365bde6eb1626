// Dialogs that ask before something is done, and the keys j and k between links of rows. It loads nothing from outside.
"use strict";
document.addEventListener("click", async (event) => {
  const opener = event.target.closest("button.asks");
  if (opener) {
    opener.nextElementSibling.showModal();
    return;
  }
  const dialog = event.target.closest("dialog[data-action]");
  if (!dialog) return;
  if (event.target.closest(".leave")) {
    dialog.close();
    return;
  }
  const button = event.target.closest(".confirm");
  if (!button) return;
  const said = dialog.querySelector(".said");
  button.disabled = true;
  try {
    const answer = await fetch(dialog.dataset.action, {method: "POST", headers: {"X-Batchpipe": "1"}});
    const text = await answer.text();
    let found = {said: text};
    try { found = JSON.parse(text); } catch { /* a refusal of the guard is plain text */ }
    said.textContent = found.said || text;
    if (answer.ok) setTimeout(() => location.reload(), 1500);
    else button.disabled = false;
  } catch {
    said.textContent = "The server does not answer. Nothing is known of what was done: look again.";
    button.disabled = false;
  }
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, dialog")) return;
  const step = {j: 1, k: -1}[event.key];
  if (!step) return;
  const links = [...document.querySelectorAll("tbody td:first-child a")];
  if (!links.length) return;
  const place = links.indexOf(document.activeElement);
  links[Math.min(Math.max(place + step, 0), links.length - 1)].focus();
});
