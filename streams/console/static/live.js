// Crossings as they come, the latest on top, and what each led to as soon as campaigns have decided. What comes while it
// is paused is shown when it goes on.
"use strict";

const live = document.querySelector("[data-live]");
const MOST_ROWS = 200;
const MOST_ASKED = 50; // crossings in one question
const ASK_MS = 500; // campaigns have decided in less, mostly; then less and less often, to
const ASK_AT_MOST_MS = 60_000;

function start_live() {
  const { ask_console, language, show_times } = window.tideline;
  const words = JSON.parse(live.dataset.words);
  const [table, empty] = [live.querySelector("table"), live.querySelector("[data-live-empty]")];
  const body = table.querySelector("tbody");
  const state = document.querySelector("[data-live-state]");
  const pause = document.querySelector("[data-live-pause]");
  const whole = new Intl.NumberFormat(language, { maximumFractionDigits: 0 });
  let [is_paused, waiting] = [false, []];

  function element(name, text, class_name) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (class_name !== undefined) made.className = class_name;
    return made;
  }

  function link(text, address) {
    const made = element("a", text);
    made.href = address;
    return made;
  }

  const score = (value) => (value === null || value === undefined ? "–" : whole.format(value));

  function why(data) {
    const parts = [words.origins[data.origin] ?? data.origin];
    if (data.caused_by_goal) parts.push(words.goal);
    for (const reason of (data.reasons ?? []).slice(0, 2)) {
      const told = words.features[`${reason.feature}|${reason.level}`];
      if (told !== undefined) parts.push(told);
    }
    return parts.join(" · ");
  }

  function row(event) {
    const { data } = event;
    const made = element("tr", undefined, data.in_segment ? "entered" : "exited");
    const user = element("th");
    user.scope = "row";
    user.append(link(event.subject, live.dataset.users + encodeURIComponent(event.subject)));
    const segment = element("td", undefined, "text");
    const direction = element("b", `${words.directions[data.in_segment ? "entered" : "exited"]} `);
    const name = words.segments[data.segment_id] ?? data.segment_name;
    segment.append(direction, link(name, live.dataset.segments + encodeURIComponent(data.segment_id)));
    const scores = element("td", data.score === null ? "–" : `${score(data.previous_score)} → ${score(data.score)}`);
    scores.dataset.label = table.dataset.score;
    const led = element("td", undefined, "text");
    led.dataset.label = table.dataset.ledTo;
    follow(event, led);
    const time = element("time", event.time);
    time.dateTime = event.time;
    time.dataset.time = "";
    const when = element("td");
    when.append(time);
    made.append(user, segment, scores, element("td", why(data), "text why"), led, when);
    show_times(made);
    return made;
  }

  // --- what they led to -----------------------------------------------------------------------------------------------

  const followed = new Map(); // of rows of which more may become known: cell -> what to ask, when, and how long then
  let is_asking = false;

  function follow(event, cell) {
    const { data, subject: user, sequence, time } = event;
    const asked = { user, segment: data.segment_id, sequence, time, is_entry: data.in_segment, origin: data.origin };
    cell.append(element("span", words.led.not_yet, "muted"));
    followed.set(cell, { asked, due_ms: performance.now() + ASK_MS, pause_ms: ASK_MS });
  }

  function show_led(cell, found) {
    const lines = found.map(({ id, name, words: said }) => {
      const line = element("div");
      line.append(link(name, live.dataset.campaigns + encodeURIComponent(id)), element("span", ` ${said}`, "muted"));
      return line;
    });
    cell.replaceChildren(...(lines.length > 0 ? lines : [element("span", words.led.nothing, "muted")]));
  }

  /** Ask about those of which it is time; a row that nobody sees any more is forgotten. */
  async function look_after() {
    for (const cell of followed.keys()) if (!cell.isConnected) followed.delete(cell);
    const now_ms = performance.now();
    const due = [...followed].filter(([, each]) => each.due_ms <= now_ms).slice(-MOST_ASKED);
    if (is_asking || document.hidden || due.length === 0) return;
    is_asking = true;
    for (const [, each] of due) {
      each.pause_ms = Math.min(2 * each.pause_ms, ASK_AT_MOST_MS);
      each.due_ms = now_ms + each.pause_ms;
    }
    const form = new URLSearchParams({ token: live.dataset.token, crossings: JSON.stringify(due.map(([, each]) => each.asked)) });
    try {
      const { found } = await ask_console(live.dataset.led, undefined, form);
      for (const [place, [cell]] of due.entries()) {
        show_led(cell, found[place]);
        if (found[place].every((each) => each.is_final)) followed.delete(cell);
      }
    } catch (error) {
      for (const [cell] of due) cell.replaceChildren(element("span", error.message, "muted"));
    }
    is_asking = false;
  }

  /** Where it belongs by its time: partitions come one after the other at the beginning. */
  function show(event) {
    const made = row(event);
    made.dataset.at = String(Date.parse(event.time));
    const older = [...body.rows].find((other) => Number(other.dataset.at) <= Number(made.dataset.at));
    body.insertBefore(made, older ?? null);
    while (body.rows.length > MOST_ROWS) body.rows[MOST_ROWS].remove();
    table.hidden = false;
    empty.hidden = true;
  }

  function tell(name) {
    state.dataset.state = name;
    state.textContent = words.states[name];
    if (name === "paused" && waiting.length > 0) state.textContent += ` (${whole.format(waiting.length)})`;
  }

  function toggle() {
    is_paused = !is_paused;
    pause.setAttribute("aria-pressed", String(is_paused));
    pause.querySelector("span").textContent = is_paused ? words.resume : words.pause;
    if (!is_paused) for (const event of waiting.splice(0)) show(event);
    tell_state();
  }

  /** What the connection is; a pause hides one that goes on, and none that has ended. */
  function tell_state() {
    if (source.readyState === EventSource.CLOSED) return tell("closed");
    if (is_paused) return tell("paused");
    tell(source.readyState === EventSource.OPEN ? "live" : "connecting");
  }

  const source = new EventSource(live.dataset.live);
  source.addEventListener("open", tell_state);
  source.addEventListener("error", tell_state);
  source.addEventListener("transition", (message) => {
    const event = JSON.parse(message.data);
    if (!is_paused) return show(event);
    waiting.push(event);
    if (waiting.length > MOST_ROWS) waiting.shift();
    tell("paused");
  });
  pause.addEventListener("click", toggle);
  window.setInterval(() => void look_after(), ASK_MS);
}

if (live !== null) start_live();
