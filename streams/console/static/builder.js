// The builder of filters: conditions and groups of them as controls, a count of users while they change. The page's
// text area carries the filter as JSON; without this script people write there themselves.
"use strict";

const builder = document.querySelector("[data-builder]");
const COUNT_AFTER_MS = 500;

function start_builder() {
  const { ask_console } = window.tideline;
  const words = JSON.parse(builder.dataset.words);
  const offered = JSON.parse(builder.dataset.offered);
  const form = document.querySelector("[data-builder-form]");
  const text = form.querySelector("#filter");
  const is_optional = builder.dataset.optional !== undefined; // without a condition it holds for everybody
  const readers = new WeakMap(); // of every condition and group: what it says, or null while it is not complete

  // --- controls -------------------------------------------------------------------------------------------------------

  function element(name, properties, ...children) {
    const made = Object.assign(document.createElement(name), properties ?? {});
    made.append(...children);
    return made;
  }

  function labelled(made, label) {
    made.setAttribute("aria-label", label);
    return made;
  }

  function choice(label, options, value) {
    const made = labelled(element("select"), label);
    const is_offered = value === undefined || options.some(([key]) => key === value);
    // What a filter rests on stays, also where it would not be offered any more.
    for (const [key, said] of is_offered ? options : [...options, [value, value]]) {
      made.append(element("option", { value: key, textContent: said }));
    }
    if (value !== undefined) made.value = value;
    return made;
  }

  function number(label, value, more) {
    const given = value === undefined || value === null ? "" : String(value);
    return labelled(element("input", { type: "number", value: given, step: "any", ...more }), label);
  }

  function listed(label, value, names) {
    const id = `list-${names}`;
    const made = labelled(element("input", { value: value ?? "", required: true, maxLength: 200, spellcheck: false }), label);
    made.setAttribute("list", id);
    return made;
  }

  const value_of = (control) => (control.value.trim() === "" || Number.isNaN(Number(control.value)) ? undefined : Number(control.value));
  const shown = (words_) => element("span", { className: "small muted", textContent: words_ });
  const pair = (words_, ...controls) => element("span", { className: "pair" }, shown(words_), ...controls);

  /** A range of two numbers, of which one may be missing, as the filter has it; null while it is not complete. */
  function range_of(low, high) {
    const [min, max] = [value_of(low), value_of(high)];
    low.setCustomValidity(min === undefined && max === undefined ? words.one_of_both : "");
    if (!low.validity.valid || !high.validity.valid) return null;
    return { ...(min !== undefined && { min }), ...(max !== undefined && { max }) };
  }

  // --- durations ------------------------------------------------------------------------------------------------------

  const UNITS = ["m", "h", "d"].map((unit) => [unit, words[`unit_${unit}`]]);

  function duration(label, given, units = UNITS) {
    const [, amount, unit] = /^([0-9.]+)([smhdw])$/.exec(given ?? "") ?? [];
    const in_days = unit === "w";
    const known = unit === "s" ? [["s", words.unit_s], ...units] : units;
    const value = number(label, amount === undefined ? undefined : Number(amount) * (in_days ? 7 : 1), { min: 0 });
    const unit_ = choice(words.unit, known, in_days ? "d" : (unit ?? "d"));
    const read = () => (value_of(value) === undefined ? undefined : `${value_of(value)}${unit_.value}`);
    return { value, unit: unit_, read, nodes: [value, unit_] };
  }

  // --- conditions -----------------------------------------------------------------------------------------------------

  const predictions = offered.predictions.map(({ id, name }) => [id, name]);

  function of_prediction(data) {
    return choice(words.prediction, predictions, data.prediction);
  }

  function score(box, data) {
    const prediction = of_prediction(data);
    const low = number(words.from, data.score?.min, { min: 0, max: 100 });
    const high = number(words.to, data.score?.max, { min: 0, max: 100 });
    box.append(prediction, pair(words.from, low), pair(words.to, high));
    return () => {
      const range = range_of(low, high);
      return range && { prediction: prediction.value, score: range };
    };
  }

  function likelihood(box, data) {
    const percent = (value) => (value === undefined || value === null ? undefined : Number((value * 100).toPrecision(12)));
    const prediction = of_prediction(data);
    const low = number(words.from_percent, percent(data.likelihood?.min), { min: 0, max: 100 });
    const high = number(words.to_percent, percent(data.likelihood?.max), { min: 0, max: 100 });
    box.append(prediction, pair(words.from, low), pair(words.to, high, shown("%")));
    return () => {
      const range = range_of(low, high);
      if (range === null) return null;
      for (const end of Object.keys(range)) range[end] = Number((range[end] / 100).toPrecision(12));
      return { prediction: prediction.value, likelihood: range };
    };
  }

  function category(box, data) {
    const prediction = of_prediction(data);
    const given = data.category === undefined ? ["high"] : [data.category].flat();
    const places = element("span", { className: "checks" });
    box.append(prediction, places);
    function lay(chosen) {
      const found = offered.predictions.find(({ id }) => id === prediction.value);
      places.replaceChildren(
        ...Object.entries(found?.categories ?? words.categories).map(([id, name]) =>
          element("label", { className: "check" }, element("input", { type: "checkbox", value: id, checked: chosen.includes(id) }), name),
        ),
      );
    }
    const chosen = () => [...places.querySelectorAll("input:checked")].map((each) => each.value);
    prediction.addEventListener("change", () => lay(chosen()));
    lay(given);
    return () => {
      const found = chosen();
      places.querySelector("input").setCustomValidity(found.length === 0 ? words.one_category : "");
      return found.length === 0 ? null : { prediction: prediction.value, category: found };
    };
  }

  const TYPES = ["text", "number", "boolean"].map((type) => [type, words[`type_${type}`]]);
  const OPERATIONS = ["equals", "in", "range", "known", "unknown"].map((name) => [name, words[`trait_${name}`]]);

  function operation_of(data) {
    if (data.exists !== undefined) return data.exists ? "known" : "unknown";
    if (data.in !== undefined) return "in";
    return data.min !== undefined || data.max !== undefined ? "range" : "equals";
  }

  /** A value as its type has it; null where it has not. */
  function typed(written, type) {
    const given = written.trim();
    if (given === "") return null;
    if (type === "text") return given;
    if (type === "boolean") return given === "true" ? true : given === "false" ? false : null;
    return Number.isNaN(Number(given)) ? null : Number(given);
  }

  function trait(box, data) {
    const name = listed(words.trait, data.trait, "traits");
    const operation = choice(words.operation, OPERATIONS, operation_of(data));
    const place = element("span", { className: "fields" });
    box.append(name, operation, place);
    let fields = null;
    function lay(given) {
      place.replaceChildren();
      fields = trait_fields(place, operation.value, name.value, given);
    }
    operation.addEventListener("change", () => lay({}));
    name.addEventListener("input", () => fields.rename(name.value.trim()));
    lay(data);
    return () => {
      const found = fields.read();
      return name.value.trim() === "" || found === null ? null : { trait: name.value.trim(), ...found };
    };
  }

  function trait_fields(place, operation, name, data) {
    if (operation === "known" || operation === "unknown") {
      return { read: () => ({ exists: operation === "known" }), rename: () => undefined };
    }
    if (operation === "range") {
      const [low, high] = [number(words.at_least, data.min), number(words.at_most, data.max)];
      place.append(pair(words.at_least, low), pair(words.at_most, high));
      return { read: () => range_of(low, high), rename: () => undefined };
    }
    const known = (trait_) => offered.traits[trait_] ?? { type: "text", values: [] };
    const given = operation === "in" ? (data.in ?? []) : data.equals === undefined ? [] : [data.equals];
    const kind = given.length === 0 ? known(name).type : typeof given[0] === "string" ? "text" : typeof given[0];
    const type = choice(words.type, TYPES, kind);
    const value = labelled(
      element("input", { value: given.join(", "), required: true, spellcheck: false }),
      operation === "in" ? words.values : words.value,
    );
    const list = element("datalist", { id: `values-${(lists += 1)}` });
    value.setAttribute("list", list.id);
    place.append(value, type, list);
    if (operation === "in") place.append(shown(words.values_help));
    function offer(trait_) {
      const values = operation === "in" ? [] : known(trait_).values;
      list.replaceChildren(...values.map((each) => element("option", { value: String(each) })));
    }
    function rename(trait_) {
      offer(trait_);
      if (value.value === "") type.value = known(trait_).type;
    }
    function read() {
      const parts = operation === "in" ? value.value.split(",") : [value.value];
      const found = parts.map((each) => typed(each, type.value));
      const is_good = found.every((each) => each !== null);
      value.setCustomValidity(is_good ? "" : words.value_wrong);
      if (!is_good) return null;
      return operation === "in" ? { in: found } : { equals: found[0] };
    }
    offer(name);
    return { read, rename };
  }
  let lists = 0;

  function count(box, data) {
    const event = listed(words.event, data.event, "events");
    const low = number(words.at_least, data.count === undefined ? 1 : data.count.min, { min: 0, step: 1 });
    const high = number(words.at_most, data.count?.max, { min: 0, step: 1 });
    const period = choice(words.period, [["ever", words.ever], ["within", words.within]], data.within === undefined ? "ever" : "within");
    const within = duration(words.within, data.within, UNITS.slice(1));
    const place = element("span", { className: "fields" }, ...within.nodes);
    box.append(event, pair(words.at_least, low), pair(words.at_most, high, shown(words.times)), period, place);
    return () => {
      const is_ever = period.value === "ever";
      place.hidden = is_ever;
      within.value.disabled = is_ever;
      within.value.required = !is_ever;
      const name = event.value.trim();
      const is_kept = is_ever || name === "" || offered.history.includes(name);
      event.setCustomValidity(is_kept ? "" : words.not_in_history.replace("{names}", offered.history.join(", ") || "–"));
      const range = range_of(low, high);
      if (name === "" || !is_kept || range === null || (!is_ever && within.read() === undefined)) return null;
      return { event: name, count: range, ...(!is_ever && { within: within.read() }) };
    };
  }

  function since(box, data) {
    const event = listed(words.event, data.event, "events");
    const low = duration(words.since_low, data.since?.min);
    const high = duration(words.since_high, data.since?.max);
    box.append(event, pair(words.since_low, ...low.nodes), pair(words.since_high, ...high.nodes), shown(words.ago));
    return () => {
      const [min, max] = [low.read(), high.read()];
      low.value.setCustomValidity(min === undefined && max === undefined ? words.one_of_both : "");
      if (event.value.trim() === "" || (min === undefined && max === undefined)) return null;
      const range = { ...(min !== undefined && { min }), ...(max !== undefined && { max }) };
      return { event: event.value.trim(), since: range };
    };
  }

  function segment(box, data) {
    const made = choice(words.segment, Object.entries(offered.segments), data.segment);
    box.append(made);
    return () => ({ segment: made.value });
  }

  const KINDS = { category, score, likelihood, trait, count, since, segment };
  const has = { segment: Object.keys(offered.segments).length > 0 };
  for (const name of ["score", "likelihood", "category"]) has[name] = predictions.length > 0;
  const kinds = Object.keys(KINDS).filter((name) => has[name] ?? true);

  function kind_of(data) {
    return Object.keys(KINDS).find((name) => data[name] !== undefined) ?? kinds[0];
  }

  function leaf(data) {
    const made = element("div", { className: "leaf" });
    made.setAttribute("role", "group");
    const kind = choice(words.kind, kinds.map((name) => [name, words[`kind_${name}`]]), kind_of(data));
    const fields = element("span", { className: "fields" });
    const lay = (given) => {
      fields.replaceChildren();
      readers.set(made, KINDS[kind.value](fields, given));
    };
    kind.addEventListener("change", () => lay({}));
    made.append(kind, fields, remover(made));
    lay(data);
    return made;
  }

  // --- groups ---------------------------------------------------------------------------------------------------------

  const MODES = ["all", "any", "none", "not_all"].map((name) => [name, words[`mode_${name}`]]);

  /** [mode, what is in it] of a group; a condition that does not hold is a group of one. */
  function parts_of(data) {
    if (data.all !== undefined) return ["all", data.all];
    if (data.any !== undefined) return ["any", data.any];
    if (data.not.any !== undefined) return ["none", data.not.any];
    return data.not.all !== undefined ? ["not_all", data.not.all] : ["none", [data.not]];
  }

  const is_group = (data) => data.all !== undefined || data.any !== undefined || data.not !== undefined;
  const node = (data) => (is_group(data) ? group(data) : leaf(data));

  function group(data, is_root = false) {
    const [mode_given, items] = parts_of(data);
    const made = element("div", { className: "group" });
    made.setAttribute("role", "group");
    const mode = choice(words.mode, MODES, mode_given);
    const list = element("div", { className: "parts" }, ...items.map(node));
    const add = (label, of) => {
      const button = element("button", { type: "button", className: "small", textContent: label });
      button.addEventListener("click", () => {
        const added = of();
        list.append(added);
        added.querySelector("select").focus();
        changed();
      });
      return button;
    };
    const more = element("div", { className: "actions" });
    more.append(add(words.add_condition, () => leaf({})), add(words.add_group, () => group({ any: [{}] })));
    made.append(element("div", { className: "mode" }, mode, ...(is_root ? [] : [remover(made)])), list, more);
    readers.set(made, () => {
      const found = [...list.children].map((each) => readers.get(each)());
      if (found.length === 0 || found.includes(null)) return null;
      if (mode.value === "none") return { not: found.length === 1 ? found[0] : { any: found } };
      if (mode.value === "not_all") return { not: { all: found } };
      return is_root && found.length === 1 ? found[0] : { [mode.value]: found };
    });
    return made;
  }

  function remover(made) {
    const button = labelled(element("button", { type: "button", className: "quiet remove", textContent: "×" }), words.remove);
    button.title = words.remove;
    button.addEventListener("click", () => {
      const next = made.nextElementSibling ?? made.previousElementSibling;
      const otherwise = made.parentElement.nextElementSibling.querySelector("button");
      made.remove();
      (next?.querySelector("select") ?? otherwise).focus();
      changed();
    });
    return button;
  }

  /** Who hears the page is told which condition it is. */
  function number_all(box, before) {
    let place = 0;
    for (const each of box.querySelector(":scope > .parts").children) {
      place += 1;
      const name = `${before}${place}`;
      each.setAttribute("aria-label", (each.className === "group" ? words.group_n : words.condition_n).replace("{n}", name));
      if (each.className === "group") number_all(each, `${name}.`);
    }
  }

  // --- counting -------------------------------------------------------------------------------------------------------

  const [users, notes] = ["users", "notes"].map((name) => form.querySelector(`[data-count=${name}]`));
  let [timer, is_asking, is_stale] = [null, false, false];

  function tell(count_, lines, places_) {
    users.textContent = count_;
    notes.replaceChildren(...lines.map((line) => element("p", { textContent: line })));
    for (const [place, lang] of places_) {
      const line = element("p", { textContent: place });
      if (lang !== null) line.lang = lang;
      notes.append(line);
    }
  }

  async function ask() {
    if (is_asking) {
      is_stale = true; // a pass over all users is not cheap: one at a time, and then the latest
      return;
    }
    is_asking = true;
    is_stale = false;
    try {
      const found = await ask_console(builder.dataset.builder, undefined, new URLSearchParams(new FormData(form)));
      if (!is_stale) tell(found.users, found.notes, found.places);
    } catch (error) {
      tell("–", [error.message || builder.dataset.failed], []);
    }
    is_asking = false;
    if (is_stale) void ask();
  }

  function changed() {
    number_all(root, "");
    const data = readers.get(root)();
    text.value = data === null ? "" : JSON.stringify(data, null, 1);
    window.clearTimeout(timer);
    const is_empty = root.querySelector(".leaf, .group") === null;
    if (data === null && !(is_empty && is_optional)) {
      is_stale = false;
      tell("–", [is_empty ? words.empty : words.incomplete], []);
      return;
    }
    timer = window.setTimeout(() => void ask(), COUNT_AFTER_MS);
  }

  // --- beginning ------------------------------------------------------------------------------------------------------

  for (const [id, names] of [["events", offered.events], ["traits", Object.keys(offered.traits)]]) {
    builder.append(element("datalist", { id: `list-${id}` }, ...names.map((name) => element("option", { value: name }))));
  }
  const given = JSON.parse(builder.dataset.tree) ?? { all: is_optional ? [] : [{}] };
  const root = group(is_group(given) ? given : { all: [given] }, true);
  labelled(root, words.filter);
  builder.append(root);
  text.required = false;
  form.querySelector("[data-as-text]").hidden = true;
  for (const each of form.querySelectorAll("[data-without-script]")) each.hidden = true;
  builder.addEventListener("input", changed);
  builder.addEventListener("change", changed);
  form.addEventListener("submit", (event) => {
    const is_empty = root.querySelector(".leaf, .group") === null;
    if (event.submitter?.formNoValidate || readers.get(root)() !== null || (is_optional && is_empty)) return;
    event.preventDefault();
    (root.querySelector(":invalid") ?? root.querySelector("button")).focus();
  });
  changed();
}

if (builder !== null) start_builder();
