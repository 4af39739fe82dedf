// What every page of the console does: times in the viewer's zone, and figures that take longer than the page.
"use strict";

const language = document.documentElement.lang;

// --- times ------------------------------------------------------------------------------------------------------------

// The numbers come from here, the words and their order from the server: a page writes all its dates in one way.
const { months, firstDay } = document.documentElement.dataset;
const time_parts = new Intl.DateTimeFormat(language === "en" ? "en-GB" : language, {
  day: "numeric",
  month: "numeric",
  year: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  hourCycle: "h23",
  timeZoneName: "short",
});

/** `28 May 2026, 22:26 CEST`. */
function time_text(when) {
  const part = Object.fromEntries(time_parts.formatToParts(when).map(({ type, value }) => [type, value]));
  const day = Number(part.day) === 1 ? firstDay : String(Number(part.day));
  const month = months.split(" ")[Number(part.month) - 1];
  return `${day} ${month} ${part.year}, ${part.hour}:${part.minute} ${part.timeZoneName}`;
}

/** Show every <time data-time> below `root` in the zone of the viewer; the exact moment stays in its title. */
function show_times(root) {
  for (const element of root.querySelectorAll("time[data-time]")) {
    const when = new Date(element.dateTime);
    if (Number.isNaN(when.getTime())) continue;
    element.title = element.dateTime;
    element.textContent = time_text(when);
  }
}

// --- figures ----------------------------------------------------------------------------------------------------------

/**
 * JSON from the console; goes to the sign-in page where the session has ended. Throws Error with words for people.
 * With `fields` (of a form with its token) it is sent as one.
 */
async function ask_console(address, signal, fields) {
  const more = fields === undefined ? {} : { method: "POST", body: fields };
  const answer = await fetch(address, { headers: { Accept: "application/json" }, signal, ...more });
  if (answer.status === 401) {
    window.location.reload();
    throw new Error("");
  }
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}

/** Fill the figures of a page that are asked for after it. */
async function fill_figures(box) {
  const places = box.querySelectorAll("[data-figure]");
  let found;
  try {
    found = await ask_console(box.dataset.figures);
  } catch (error) {
    for (const place of places) place.textContent = "–";
    const words = document.createElement("p");
    words.className = "note";
    words.setAttribute("role", "alert");
    words.textContent = error.message || box.dataset.failed;
    box.prepend(words);
    return;
  }
  for (const place of places) {
    const [name, figure] = place.dataset.figure.split(":");
    const figures = found[name];
    if (figures === undefined) {
      place.textContent = "–";
      continue;
    }
    place.textContent = figures[figure];
    if (figure === "quality") place.dataset.band = figures.band;
  }
}

window.tideline = { ask_console, language, show_times };
show_times(document);
for (const box of document.querySelectorAll("[data-reload]")) {
  window.setTimeout(() => window.location.reload(), Number(box.dataset.reload));
}
for (const box of document.querySelectorAll("[data-figures]")) void fill_figures(box);
