"use strict";
// Asks for one answer and shows it. What a user or the model wrote is only ever set as text.
const form = document.getElementById("form");
const state = document.getElementById("state");
const place = document.getElementById("answer");
const button = form.querySelector("button");
const MOST = 12; // labels that are shown

function tell(text, failed) {
  state.textContent = text;
  state.className = failed ? "failed" : "";
}

function add(parent, kind, name, text) {
  const found = document.createElement(kind);
  if (name) found.className = name;
  if (text !== undefined) found.textContent = text;
  parent.append(found);
  return found;
}

const percent = (share) => (share * 100).toFixed(1) + " %";

function request() {
  const input = {};
  for (const field of form.querySelectorAll(".field")) input[field.dataset.name] = field.value;
  const options = document.getElementById("options");
  if (options) input.options = options.value.split("\n").map((line) => line.trim()).filter(Boolean);
  return { inputs: [input] };
}

function showLabels(answer, options) {
  const best = answer.answer ? "(" + answer.label + ") " + answer.answer : answer.label;
  if (answer.abstained) {
    add(place, "p", "said abstained", "No answer");
    add(place, "p", "why", "It is not sure enough and abstains. Nearest, at " + percent(answer.probability) + ": " + best + ".");
  } else {
    add(place, "p", "said", best);
    add(place, "p", "why", "with a probability of " + percent(answer.probability));
  }
  const bars = add(place, "ul", "bars");
  const names = Object.keys(answer.probabilities); // letters, of multiple choice
  const rows = names.map((name, n) => [name, answer.probabilities[name], options ? name + "  " + options[n] : name]);
  if (rows.length > MOST) rows.sort((one, other) => other[1] - one[1]);
  for (const [label, share, words] of rows.slice(0, MOST)) {
    const row = add(bars, "li", label === answer.label && !answer.abstained ? "best" : "");
    add(row, "span", "", words);
    const bar = add(row, "progress");
    bar.max = 1;
    bar.value = share;
    bar.setAttribute("aria-hidden", "true");
    add(row, "span", "number", percent(share));
  }
  if (rows.length > MOST) add(place, "p", "soft", "and " + (rows.length - MOST) + " labels that are less likely");
}

function showText(answer) {
  // the referral stands above already
  const referral = answer.referral ? answer.referral + "\n\n" : "";
  const text = referral && answer.answer.startsWith(referral) ? answer.answer.slice(referral.length) : answer.answer;
  add(place, "p", "passage", text || "(nothing)");
  if (!answer.ended) add(place, "p", "soft", "It was cut off at the longest answer that is expected.");
}

function show(answer, options) {
  if (answer.referral) add(place, "p", "referral", answer.referral).setAttribute("role", "alert");
  if ("label" in answer) showLabels(answer, options);
  else showText(answer);
  place.hidden = false;
}

async function ask() {
  button.disabled = true;
  place.hidden = true;
  place.replaceChildren();
  tell("…", false);
  const begin = performance.now();
  try {
    const headers = { "Content-Type": "application/json" };
    const sent = request();
    const reply = await fetch("/predict", { method: "POST", headers, body: JSON.stringify(sent) });
    const found = await reply.json();
    if (!reply.ok) throw new Error([found.error.what, found.error.fix].filter(Boolean).join("\n"));
    show(found.answers[0], sent.inputs[0].options);
    tell(Math.round(performance.now() - begin) + " ms, " + found.engine, false);
  } catch (error) {
    tell(error instanceof TypeError ? "The server does not answer. Is it still running?" : error.message, true);
  } finally {
    button.disabled = false;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!button.disabled) ask();
});
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
