// The form of a campaign: of an offer only the fields of its kind are in sight, and it is drawn again while they change.
"use strict";

const DRAW_AFTER_MS = 300;

function start_offer(box) {
  const { ask_console } = window.tideline;
  const form = box.closest("form");
  const place = box.querySelector("[data-drawn]");
  const kinds = box.querySelectorAll(`[name="${box.dataset.prefix}offer"]`);
  let [timer, is_asking, is_stale] = [null, false, false];

  function show() {
    const kind = [...kinds].find((each) => each.checked)?.value;
    for (const part of box.querySelectorAll("[data-offer-of]")) {
      part.hidden = !part.dataset.offerOf.split(" ").includes(kind);
    }
  }

  async function draw() {
    if (is_asking) {
      is_stale = true; // one at a time, and then the latest
      return;
    }
    [is_asking, is_stale] = [true, false];
    try {
      const { html } = await ask_console(box.dataset.offer, undefined, new URLSearchParams(new FormData(form)));
      if (!is_stale) place.innerHTML = html; // made by the server, in which everything of others is escaped
    } catch {
      place.replaceChildren(); // saving tells what is wrong; an old drawing would tell something else
    }
    is_asking = false;
    if (is_stale) void draw();
  }

  function changed() {
    show();
    window.clearTimeout(timer);
    timer = window.setTimeout(() => void draw(), DRAW_AFTER_MS);
  }

  box.addEventListener("input", changed);
  form.querySelector("#segment")?.addEventListener("change", changed);
  show();
}

/** Of a path, or of what is waited for, only the fields of the chosen kind are in sight. */
function start_choice(choice, box, name) {
  const show = () => {
    for (const part of box.querySelectorAll(`[data-${name}-of]`)) {
      part.hidden = !part.getAttribute(`data-${name}-of`).split(" ").includes(choice.value);
    }
  };
  choice.addEventListener("change", show);
  show();
}

/** Categories are called as those of the chosen prediction: a high one is good news of a purchase, and a risk of churn. */
function start_category_words(categories) {
  const prediction = categories.closest("[data-path]").querySelector("[name$=_prediction]");
  const of_churn = categories.dataset.churnIds.split(" ");
  const show = () => {
    const kind = of_churn.includes(prediction.value) ? "churn" : "event";
    categories.setAttribute("aria-label", categories.dataset[kind]);
    for (const option of categories.options) option.textContent = option.dataset[kind];
  };
  prediction.addEventListener("change", show);
}

for (const box of document.querySelectorAll("[data-offer]")) start_offer(box);
for (const categories of document.querySelectorAll("[data-category-words]")) start_category_words(categories);
for (const name of ["path", "what", "trigger"]) {
  for (const choice of document.querySelectorAll(`[data-${name}-kind]`)) start_choice(choice, choice.closest(`[data-${name}]`), name);
}
for (const choice of document.querySelectorAll("[data-every-kind]")) start_choice(choice, choice.closest("[data-trigger]"), "every");
