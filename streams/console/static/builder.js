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
  const originals = new WeakMap(); // and as it came, which it says as long as nobody has touched anything in it

  // --- texts and numbers ----------------------------------------------------------------------------------------------

  const OWN = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/; // characters that a field would lose

  /** A text as a field shows it: in quotes where it would lose something without. */
  const shown_text = (value) =>
    value !== "" && value === value.trim() && !value.startsWith('"') && !OWN.test(value) ? value : JSON.stringify(value);

  /** What somebody wrote: without blanks at its ends where it is not in quotes. */
  function read_text(written) {
    const given = written.trim();
    if (given.length < 2 || !given.startsWith('"') || !given.endsWith('"')) return given;
    try {
      const found = JSON.parse(given);
      return typeof found === "string" ? found : given;
    } catch {
      return given; // quotes that belong to the text
    }
  }

  const is_french = document.documentElement.lang === "fr";
  const NUMBER = is_french ? /^[-+]?[0-9]+([.,][0-9]+)?(e[-+]?[0-9]+)?$/i : /^[-+]?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?$/i;
  const AMBIGUOUS = /^[-+]?[1-9][0-9]{0,2}[.,][0-9]{2}0$/; // as likely thousands

  const shown_number = (value) => (is_french ? String(value).replace(".", ",") : String(value));

  /** A number of the visitor's language; null for what is none, or could be two. */
  function read_number(written) {
    const given = written.trim();
    if (!NUMBER.test(given) || AMBIGUOUS.test(given) || (is_french && /^[-+]?[1-9][0-9]{0,2}\.[0-9]{3}$/.test(given))) return null;
    const found = Number(given.replace(",", "."));
    return Number.isFinite(found) ? found : null;
  }

  /** The number with its decimal point moved, without the noise of a product. */
  function moved(value, places) {
    const [digits, exponent] = String(value).split("e");
    return Number(`${digits}e${Number(exponent ?? 0) + places}`);
  }

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
    const given = value === undefined ? "" : shown_text(value);
    const made = labelled(element("input", { value: given, required: true, spellcheck: false }), label);
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
    const percent = (value) => (value === undefined || value === null ? undefined : moved(value, 2));
    const prediction = of_prediction(data);
    const low = number(words.from_percent, percent(data.likelihood?.min), { min: 0, max: 100 });
    const high = number(words.to_percent, percent(data.likelihood?.max), { min: 0, max: 100 });
    box.append(prediction, pair(words.from, low), pair(words.to, high, shown("%")));
    return () => {
      const range = range_of(low, high);
      if (range === null) return null;
      for (const end of Object.keys(range)) range[end] = moved(range[end], -2);
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

  const TYPES = ["text", "number", "boolean", "mixed"].map((type) => [type, words[`type_${type}`]]);
  const OPERATIONS = ["equals", "in", "range", "known", "unknown"].map((name) => [name, words[`trait_${name}`]]);

  function operation_of(data) {
    if (data.exists !== undefined) return data.exists ? "known" : "unknown";
    if (data.in !== undefined) return "in";
    return data.min !== undefined || data.max !== undefined ? "range" : "equals";
  }

  const type_of = (value) => (typeof value === "string" ? "text" : typeof value);

  /** A value as a field of its type shows it. */
  function shown_value(value, type) {
    if (type === "text") return shown_text(value);
    if (type === "boolean") return words[String(value)];
    return type === "number" ? shown_number(value) : JSON.stringify(value);
  }

  /** In the visitor's words, or as a catalog has it; null for anything else. */
  function read_boolean(given) {
    const said = given.toLowerCase();
    if (said === "true" || said === words.true) return true;
    return said === "false" || said === words.false ? false : null;
  }

  /** A value as its type has it; null where it has not. */
  function typed(written, type) {
    const given = written.trim();
    if (given === "") return null;
    if (type === "text") return read_text(given);
    if (type === "number") return read_number(given);
    if (type === "boolean") return read_boolean(given);
    try {
      const found = JSON.parse(given);
      return ["string", "number", "boolean"].includes(typeof found) ? found : null;
    } catch {
      return null;
    }
  }

  function trait(box, data) {
    const name = listed(words.trait, data.trait, "traits");
    const operation = choice(words.operation, OPERATIONS, operation_of(data));
    const place = element("span", { className: "fields" });
    box.append(name, operation, place);
    let fields = null;
    function lay(given) {
      place.replaceChildren();
      fields = trait_fields(place, operation.value, read_text(name.value), given);
    }
    operation.addEventListener("change", () => lay({}));
    name.addEventListener("input", () => fields.rename(read_text(name.value)));
    lay(data);
    return () => {
      const found = fields.read();
      return name.value.trim() === "" || found === null ? null : { trait: read_text(name.value), ...found };
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
    const is_list = operation === "in";
    const given = is_list ? (data.in ?? []) : data.equals === undefined ? [] : [data.equals];
    const kinds_ = [...new Set(given.map(type_of))];
    const kind = kinds_.length === 0 ? known(name).type : kinds_.length === 1 ? kinds_[0] : "mixed";
    const type = choice(words.type, TYPES, kind);
    const lines = given.map((each) => shown_value(each, kind));
    const rows = Math.min(Math.max(lines.length, 3), 8);
    const yes_or_no = ["true", "false"].map((each) => [each, words[each]]);
    let value = labelled(
      is_list
        ? element("textarea", { value: lines.join("\n"), rows, required: true, spellcheck: false })
        : element("input", { value: lines.join(""), required: true, spellcheck: false }),
      is_list ? words.values : words.value,
    );
    const list = element("datalist", { id: `values-${(lists += 1)}` });
    if (!is_list) value.setAttribute("list", list.id);
    const written = value;
    /** What is true or false is chosen, in the visitor's words. */
    function lay_value() {
      const is_chosen = !is_list && type.value === "boolean";
      const wanted = is_chosen ? choice(words.value, yes_or_no, lines[0] === words.false ? "false" : "true") : written;
      value.replaceWith(wanted);
      value = wanted;
    }
    type.addEventListener("change", lay_value);
    place.append(value, type, list);
    lay_value();
    if (is_list) place.append(shown(words.values_help));
    function offer(trait_) {
      const values = is_list ? [] : known(trait_).values;
      list.replaceChildren(...values.map((each) => element("option", { value: shown_value(each, type_of(each)) })));
    }
    function rename(trait_) {
      offer(trait_);
      if (value.value === "") type.value = known(trait_).type;
    }
    function read() {
      const parts = is_list ? value.value.split("\n").filter((line) => line.trim() !== "") : [value.value];
      const found = parts.map((each) => typed(each, type.value));
      const is_good = found.length > 0 && found.every((each) => each !== null);
      value.setCustomValidity(is_good ? "" : words.value_wrong);
      if (!is_good) return null;
      return is_list ? { in: found } : { equals: found[0] };
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
      const name = read_text(event.value);
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
      return { event: read_text(event.value), since: range };
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
    if (kind_of(data) in data) originals.set(made, data);
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
  const node = (data) => (is_group(data) ? group(data, false, data) : leaf(data));

  function group(data, is_root = false, as_it_came = undefined) {
    const [mode_given, items] = parts_of(data);
    // A list of one that came as a list stays one.
    const is_listed = as_it_came !== undefined && items.length === 1 && (as_it_came.not?.any ?? as_it_came.all ?? as_it_came.any) !== undefined;
    const made = element("div", { className: "group" });
    made.setAttribute("role", "group");
    const mode = choice(words.mode, MODES, mode_given);
    const list = element("div", { className: "parts" }, ...items.map(node));
    const add = (label, of) => {
      const button = element("button", { type: "button", className: "small", textContent: label });
      button.addEventListener("click", () => {
        const added = of();
        touch(list);
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
      const found = [...list.children].map(read);
      if (found.length === 0 || found.includes(null)) return null;
      if (mode.value === "none") return { not: found.length === 1 && !is_listed ? found[0] : { any: found } };
      if (mode.value === "not_all") return { not: { all: found } };
      return is_root && found.length === 1 && !is_listed ? found[0] : { [mode.value]: found };
    });
    if (as_it_came !== undefined) originals.set(made, as_it_came);
    return made;
  }

  /** What a condition or a group says; null while it is not complete. */
  function read(made) {
    const said = readers.get(made)(); // always: it also tells its fields what is wrong
    return originals.has(made) ? originals.get(made) : said;
  }

  /** From now on, what has this in it says what its fields say. */
  function touch(within) {
    for (let each = within; each !== null && each !== builder; each = each.parentElement) originals.delete(each);
  }

  function remover(made) {
    const button = labelled(element("button", { type: "button", className: "quiet remove", textContent: "×" }), words.remove);
    button.title = words.remove;
    button.addEventListener("click", () => {
      const next = made.nextElementSibling ?? made.previousElementSibling;
      const otherwise = made.parentElement.nextElementSibling.querySelector("button");
      touch(made.parentElement);
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
  let filter_number = 0; // grows with every change: a count is told only if it is of the filter that is there

  function tell(count_, lines, places_) {
    users.removeAttribute("aria-busy");
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
    const asked = filter_number;
    try {
      const found = await ask_console(builder.dataset.builder, undefined, new URLSearchParams(new FormData(form)));
      if (asked === filter_number) tell(found.users, found.notes, found.places);
    } catch (error) {
      if (asked === filter_number) tell("–", [error.message], []);
    }
    is_asking = false;
    if (is_stale) void ask();
  }

  function changed() {
    const data = read(root);
    text.value = data === null ? "" : JSON.stringify(data, null, 1);
    look(data);
  }

  /** Numbers the conditions, and counts whom they hold for. */
  function look(data) {
    number_all(root, "");
    filter_number += 1;
    window.clearTimeout(timer);
    const is_empty = root.querySelector(".leaf, .group") === null;
    if (data === null && !(is_empty && is_optional)) {
      is_stale = false;
      tell("–", [is_empty ? words.empty : words.incomplete], []);
      return;
    }
    users.setAttribute("aria-busy", "true"); // what stands there is of another filter
    timer = window.setTimeout(() => void ask(), COUNT_AFTER_MS);
  }

  // --- beginning ------------------------------------------------------------------------------------------------------

  for (const [id, names] of [["events", offered.events], ["traits", Object.keys(offered.traits)]]) {
    builder.append(element("datalist", { id: `list-${id}` }, ...names.map((name) => element("option", { value: shown_text(name) }))));
  }
  const given = JSON.parse(builder.dataset.tree) ?? { all: is_optional ? [] : [{}] };
  const is_there = JSON.parse(builder.dataset.tree) !== null;
  const root = group(is_group(given) ? given : { all: [given] }, true, is_there ? given : undefined);
  labelled(root, words.filter);
  builder.append(root);
  text.required = false;
  form.querySelector("[data-as-text]").hidden = true;
  for (const each of form.querySelectorAll("[data-without-script]")) each.hidden = true;
  for (const name of ["input", "change"]) {
    builder.addEventListener(name, (event) => {
      touch(event.target);
      changed();
    });
  }
  form.addEventListener("submit", (event) => {
    const is_empty = root.querySelector(".leaf, .group") === null;
    if (event.submitter?.formNoValidate || read(root) !== null || (is_optional && is_empty)) return;
    event.preventDefault();
    (root.querySelector(":invalid") ?? root.querySelector("button")).focus();
  });
  // Nobody has touched anything: the text stays as it came.
  if (is_there) look(read(root));
  else changed();
}

if (builder !== null) start_builder();
