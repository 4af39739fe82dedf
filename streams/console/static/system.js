// The figures of the system page, asked for every five seconds while somebody looks.
"use strict";

const system_box = document.querySelector("[data-system]");
const EVERY_MS = 5_000;

function start_system() {
  const { ask_console, language, show_times } = window.tideline;
  const whole = new Intl.NumberFormat(language, { maximumFractionDigits: 0 });
  const place = (name) => document.querySelector(`[data-system-${name}]`);
  let before = null;

  function show(found) {
    place("events").textContent = whole.format(found.events);
    place("behind").textContent = found.behind;
    place("waiting").textContent = found.waiting;
    place("pending").textContent = found.pending;
    const time = place("clock").querySelector("time");
    if (time !== null && found.clock !== null) {
      time.dateTime = found.clock;
      show_times(system_box);
    }
    if (before !== null && found.at_s > before.at_s) {
      const rate = Math.max(0, found.events - before.events) / (found.at_s - before.at_s);
      place("rate").textContent = system_box.dataset.rate.replace("{n}", whole.format(rate));
    }
    before = found;
  }

  async function look() {
    if (document.hidden) return;
    try {
      show(await ask_console(system_box.dataset.system));
    } catch (error) {
      place("rate").textContent = error.message;
    }
  }

  window.setInterval(() => void look(), EVERY_MS);
  void look();
}

if (system_box !== null) start_system();
