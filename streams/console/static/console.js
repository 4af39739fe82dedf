// What every page of the console does: times in the viewer's zone, and figures that take longer than the page.
"use strict";

const language = document.documentElement.lang;
const not_loaded = document.documentElement.dataset.notLoaded;

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

/** `28 May 2026, 22:26 CEST`; or its day alone. */
function time_text(when, is_day) {
  const part = Object.fromEntries(time_parts.formatToParts(when).map(({ type, value }) => [type, value]));
  const day = Number(part.day) === 1 ? firstDay : String(Number(part.day));
  const month = months.split(" ")[Number(part.month) - 1];
  if (is_day) return `${day} ${month} ${part.year}`;
  return `${day} ${month} ${part.year}, ${part.hour}:${part.minute} ${part.timeZoneName}`;
}

/** Show every <time data-time> below `root` in the zone of the viewer; the exact moment stays in its title. */
function show_times(root) {
  for (const element of root.querySelectorAll("time[data-time]")) {
    const when = new Date(element.dateTime);
    if (Number.isNaN(when.getTime())) continue;
    element.title = element.dateTime;
    element.textContent = time_text(when, element.dataset.time === "day");
  }
}

// --- figures ----------------------------------------------------------------------------------------------------------

/** JSON of an answer; null for anything else: what a proxy says in between is no word of ours. */
async function json_of(answer) {
  try {
    return await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return null;
  }
}

/**
 * JSON from the console; goes to the sign-in page where the session has ended. With `fields` (of a form with its token)
 * it is sent as one. Throws AbortError, and Error with words for people: ours, never those of the browser.
 */
async function ask_console(address, signal, fields) {
  const more = fields === undefined ? {} : { method: "POST", body: fields };
  let answer;
  try {
    answer = await fetch(address, { headers: { Accept: "application/json" }, signal, ...more });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(not_loaded);
  }
  if (answer.status === 401) {
    window.location.reload();
    throw new Error(not_loaded);
  }
  const found = await json_of(answer);
  if (answer.ok && found !== null) return found;
  throw new Error(typeof found?.error === "string" ? found.error : not_loaded);
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
    words.textContent = error.message;
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

// --- pages that wait for something ------------------------------------------------------------------------------------

const FOCUSABLE = "a[href], button, input, select, textarea, summary, [tabindex]";

/** What an element that may have the focus is called, so that it is found again in the page as it is now. */
const name_of = (element) => [element.tagName, element.id, element.name, element.getAttribute("href"), element.textContent].join("|");

const is_written_in = (main) => [...main.querySelectorAll("input, textarea")].some((each) => each.value !== each.defaultValue);

const scripts_of = (page) => [...page.querySelectorAll("script[src]")].map((each) => each.getAttribute("src")).join(" ");

/** Show the page as it is now, in its place: the focus stays, details stay open, and nothing that was written is lost. */
function renew(main, fresh) {
  const focused = main.contains(document.activeElement) && document.activeElement !== main ? name_of(document.activeElement) : null;
  const open = new Set([...main.querySelectorAll("details[open]")].map((each) => each.querySelector("summary")?.textContent));
  main.replaceChildren(...fresh.childNodes);
  for (const each of main.querySelectorAll("details")) each.open ||= open.has(each.querySelector("summary")?.textContent);
  show_times(main);
  if (focused === null) return;
  ([...main.querySelectorAll(FOCUSABLE)].find((each) => name_of(each) === focused) ?? main).focus({ preventScroll: true });
}

/** Look again while the page says that it waits, and somebody looks at it. */
async function follow() {
  const main = document.querySelector("main");
  let said = null; // by the server, the last time: times are written anew since
  for (let box = main.querySelector("[data-reload]"); box !== null; box = main.querySelector("[data-reload]")) {
    await new Promise((resolve) => window.setTimeout(resolve, Number(box.dataset.reload)));
    if (document.hidden) await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
    if (document.hidden || is_written_in(main)) continue;
    let page;
    try {
      const answer = await fetch(window.location.href);
      if (answer.redirected) return window.location.reload(); // the session has ended
      page = new DOMParser().parseFromString(await answer.text(), "text/html");
    } catch {
      continue; // the connection is away for a moment: what is shown stays
    }
    const fresh = page.querySelector("main");
    if (fresh === null || fresh.innerHTML === said) continue;
    if (scripts_of(page) !== scripts_of(document)) return window.location.reload(); // it has become another page
    said = fresh.innerHTML;
    document.title = page.title;
    renew(main, fresh);
  }
}

// --- language and appearance ------------------------------------------------------------------------------------------

/** Another language loads the page anew. Where that would lose what somebody has written, it is asked about. */
function start_preferences(box) {
  let is_written = "holdsInput" in box.dataset;
  document.querySelector("main").addEventListener("input", ({ target }) => {
    is_written ||= target.closest("form[method=post]") !== null;
  });
  for (const button of box.querySelectorAll("button")) button.disabled = false;
  box.addEventListener("submit", (event) => {
    if (is_written && !window.confirm(box.dataset.preferences)) event.preventDefault();
  });
}

window.tideline = { ask_console, language, show_times };
show_times(document);
void follow();
for (const box of document.querySelectorAll("[data-preferences]")) start_preferences(box);
for (const box of document.querySelectorAll("[data-figures]")) void fill_figures(box);
