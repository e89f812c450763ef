"use strict";
// Keeps every choice as soon as it is made, and lets digits choose. Without it the form saves all choices at once.
const form = document.getElementById("form");
const state = document.getElementById("state");
const axes = [...form.querySelectorAll("fieldset")];
let waiting = 0;
let queue = Promise.resolve();

function tell(text, failed) {
  state.textContent = text;
  state.className = failed ? "failed" : "";
}

async function keep(name, value) {
  const own = new FormData(form);
  const body = new URLSearchParams({ token: own.get("token"), rater: own.get("rater"), item: own.get("item") });
  body.set(name, value);
  try {
    const reply = await fetch("/rate", { method: "POST", headers: { Accept: "application/json" }, body });
    const found = await reply.json();
    if (!reply.ok) throw new Error(found.error);
    document.getElementById("done").textContent = found.done;
    document.querySelector("progress").value = found.done;
    tell("Kept", false);
  } catch (error) {
    tell("Not kept: " + (error instanceof TypeError ? "the workbench does not answer." : error.message) +
      " Save again with the button.", true);
  } finally {
    waiting -= 1;
  }
}

form.addEventListener("change", (event) => {
  const { name, value } = event.target;
  event.target.closest("fieldset").classList.remove("missing");
  waiting += 1;
  queue = queue.then(() => keep(name, value)); // one after the other: the last choice must arrive last
});

function current() {
  const focused = document.activeElement ? document.activeElement.closest("fieldset") : null;
  return axes.indexOf(focused || axes.find((axis) => !axis.querySelector(":checked")) || axes[axes.length - 1]);
}

function go(place) {
  const axis = axes[place];
  if (!axis) return form.querySelector("button").focus();
  (axis.querySelector(":checked") || axis.querySelector("input")).focus({ preventScroll: true });
  axis.scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const place = current();
  if (/^[1-9]$/.test(event.key)) {
    const option = axes[place].querySelectorAll("input")[Number(event.key) - 1];
    if (!option) return;
    event.preventDefault();
    if (!option.checked) option.click();
    go(place + 1);
  } else if (event.key === "Backspace") {
    event.preventDefault();
    go(document.activeElement === form.querySelector("button") ? axes.length - 1 : Math.max(0, place - 1));
  } else if (event.key === "Enter" && document.activeElement === document.body) {
    form.requestSubmit();
  }
});

window.addEventListener("beforeunload", (event) => {
  if (waiting) event.preventDefault();
});
form.addEventListener("submit", () => { waiting = 0; }); // the form carries every choice itself
