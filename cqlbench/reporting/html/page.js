"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const shared = (number) => data.shared[number];
  const overview = document.getElementById("overview");
  const page = document.getElementById("run");
  const said = document.getElementById("said");
  const reportTitle = document.title;
  const ABSENT = "–";

  // A piece of the page: no text ever becomes markup.
  const SVG = new Set(["svg", "path", "line", "text", "g", "circle"]);
  function make(tag, attributes = {}, ...children) {
    const element = SVG.has(tag)
      ? document.createElementNS("http://www.w3.org/2000/svg", tag)
      : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children.filter((child) => child !== null && child !== ""));
    return element;
  }

  // Sorting ---------------------------------------------------------------------------------------
  function keyOf(cell) {
    const text = cell.textContent.trim();
    if (text === "" || text.startsWith(ABSENT)) return null;
    const number = /^[-+]?[\d,]*\.?\d+(e[-+]?\d+)?(?![-\w/])/i.exec(text.replace(/^[[]/, ""));
    return number ? Number(number[0].replaceAll(",", "")) : text.toLowerCase();
  }

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return String(a).localeCompare(String(b), "en", { numeric: true });
  }

  function sortBy(table, heading) {
    const column = [...heading.parentNode.children].indexOf(heading);
    const descending = heading.getAttribute("aria-sort") === "ascending";
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [keyOf(row.cells[column]), row]);
    rows.sort(([a], [b]) => {
      // What is not there comes last, whichever way round.
      if (a === null || b === null) return (a === null) - (b === null);
      return descending ? compare(b, a) : compare(a, b);
    });
    body.append(...rows.map(([, row]) => row));
    for (const other of heading.parentNode.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    said.textContent = `Sorted by ${heading.textContent}, ${descending ? "descending" : "ascending"}.`;
  }

  function makeSortable(table) {
    for (const heading of table.tHead.rows[0].cells) {
      const button = make("button", { type: "button" }, heading.textContent);
      button.addEventListener("click", () => sortBy(table, heading));
      heading.replaceChildren(button);
    }
  }

  // What is wider than the window -----------------------------------------------------------------
  function cue(box) {
    const hidden = box.scrollWidth - box.clientWidth;
    box.classList.toggle("wider", hidden > 1);
    box.classList.toggle("more", hidden - box.scrollLeft > 1);
    // The tab key stops where there is something to scroll.
    box.tabIndex = hidden > 1 ? 0 : -1;
  }

  const sizes = new ResizeObserver((entries) =>
    requestAnimationFrame(() => entries.forEach((entry) => cue(entry.target))));

  function watch(box) {
    box.addEventListener("scroll", () => cue(box), { passive: true });
    sizes.observe(box);
    cue(box);
  }

  // Curves ----------------------------------------------------------------------------------------
  const DASHES = ["", "7 3", "2 3", "8 3 2 3", "12 4", "4 2 1 2 1 2", "3 2"];
  const look = (index) => `stroke:var(--s${index % 7});stroke-dasharray:${DASHES[(index + Math.floor(index / 7)) % 7] || "none"}`;
  const shown = (value) =>
    value === null ? ABSENT : Number(value.toPrecision(3)).toLocaleString("en", { maximumSignificantDigits: 3 });

  function ticksOf(low, high, count) {
    const rough = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((by) => by * power).find((by) => by >= rough * 0.999);
    const ticks = [];
    for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n += 1) ticks.push(n * step || 0);
    return ticks;
  }

  function extent(lists) {
    const known = lists.flat().filter((value) => value !== null);
    if (!known.length) return [0, 1];
    let [low, high] = [known[0], known[0]];
    for (const value of known) [low, high] = [Math.min(low, value), Math.max(high, value)];
    return low < high ? [low, high] : [low - Math.abs(low || 1) / 2, high + Math.abs(high || 1) / 2];
  }

  const padded = ([low, high]) => [low - 0.05 * (high - low), high + 0.05 * (high - low)];

  // Curves of so few points show each.
  const FEW = 12;
  const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [400, 230, 52, 22, 8, 36];

  // lines: [{name, x, y}], one per seed; xs ascend, unless it is a `cloud` of points.
  // level: what the dashed line, the data's mean, stands at, or null.
  function chart(title, xlabel, lines, cloud = false, level = null) {
    const logarithmic = !cloud && isWide(lines);
    const seen = lines.map((line) =>
      logarithmic ? line.y.map((value) => (value > 0 ? Math.log10(value) : null)) : line.y);
    const [x0, x1] = cloud ? padded(extent(lines.map((line) => line.x))) : [0, extent(lines.map((line) => line.x))[1]];
    const at = logarithmic && level !== null ? (level > 0 ? Math.log10(level) : null) : level;
    const [y0, y1] = padded(extent([...seen, [at]]));
    const px = (x) => LEFT + ((x - x0) / (x1 - x0)) * (WIDTH - LEFT - RIGHT);
    const py = (y) => HEIGHT - BOTTOM - ((y - y0) / (y1 - y0)) * (HEIGHT - TOP - BOTTOM);
    const svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
    for (const y of ticksOf(y0, y1, 5).filter((y) => !logarithmic || Number.isInteger(y))) {
      svg.append(make("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: py(y), y2: py(y) }),
        make("text", { x: LEFT - 6, y: py(y) + 4, "text-anchor": "end" }, short(logarithmic ? 10 ** y : y)));
    }
    for (const x of ticksOf(x0, x1, 5)) {
      svg.append(make("text", { x: px(x), y: HEIGHT - BOTTOM + 15, "text-anchor": "middle" }, short(x)));
    }
    svg.append(make("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }),
      make("text", { x: (WIDTH + LEFT) / 2, y: HEIGHT - 4, "text-anchor": "middle" }, xlabel));
    if (at !== null) {
      svg.append(make("line", { class: "reference", x1: LEFT, x2: WIDTH - RIGHT, y1: py(at), y2: py(at) }));
    }
    lines.forEach((line, index) => {
      const [xs, ys] = [line.x.map(px), seen[index].map((y) => (y === null ? null : py(y)))];
      if (!cloud) svg.append(make("path", { d: pathOf(xs, ys), style: look(line.look) }));
      if (cloud || xs.length <= FEW) {
        svg.append(make("path", { class: "dots", d: dotsOf(xs, ys), style: `stroke:var(--s${line.look % 7})` }));
      }
      const last = seen[index].findLastIndex((y) => y !== null);
      if (last >= 0) {
        svg.append(make("circle", { cx: px(line.x[last]), cy: py(seen[index][last]), r: 3,
          style: `fill:var(--s${line.look % 7})` }));
      }
    });
    const ends = lines.map((line) => `${line.name} ${shown(line.y.findLast((y) => y !== null) ?? null)}`);
    svg.setAttribute("aria-label", `${title} over ${xlabel.toLowerCase()}. At the end: ${ends.join(", ")}.`);
    const heading = make("h4", {}, title + (logarithmic ? " (logarithmic)" : ""));
    const box = make("div", { class: "chart" }, heading, svg);
    if (!cloud && lines.length) readable(box, svg, lines, px);
    return box;
  }

  const short = (value) => value.toLocaleString("en",
    Math.abs(value) >= 10000 ? { notation: "compact" } : { maximumSignificantDigits: 3 });

  function isWide(lines) {
    const known = lines.flatMap((line) => line.y).filter((value) => value !== null);
    const [low, high] = [Math.min(...known), Math.max(...known)];
    return low > 0 && high / low > 100;
  }

  function pathOf(xs, ys) {
    let text = "";
    let pen = "M";
    xs.forEach((x, i) => {
      if (ys[i] === null) { pen = "M"; return; }
      text += `${pen}${x.toFixed(1)} ${ys[i].toFixed(1)}`;
      pen = "L";
    });
    return text;
  }

  const dotsOf = (xs, ys) => xs.map((x, i) => (ys[i] === null ? "" : `M${x.toFixed(1)} ${ys[i].toFixed(1)}h0`)).join("");

  // Values at a step, under the pointer or by the arrow keys.
  function readable(box, svg, lines, px) {
    const steps = lines.reduce((longest, line) => (line.x.length > longest.length ? line.x : longest), []);
    if (!steps.length) return;
    const cursor = make("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
    const output = make("output", {});
    let place = steps.length - 1;
    svg.append(cursor);
    svg.setAttribute("tabindex", "0");
    box.append(output);
    const show = (at) => {
      place = Math.max(0, Math.min(steps.length - 1, at));
      for (const end of ["x1", "x2"]) cursor.setAttribute(end, px(steps[place]));
      cursor.setAttribute("visibility", "visible");
      const values = lines.map((line) => {
        const index = line.x.indexOf(steps[place]);
        return `${line.name}: ${index < 0 ? ABSENT : shown(line.y[index])}`;
      });
      output.textContent = `Step ${steps[place].toLocaleString("en")}. ${values.join(", ")}`;
    };
    svg.addEventListener("keydown", (event) => {
      const to = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: steps.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      show(to);
    });
    svg.addEventListener("pointermove", (event) => {
      const frame = svg.getBoundingClientRect();
      const x = ((event.clientX - frame.left) / frame.width) * WIDTH;
      let nearest = 0;
      steps.forEach((step, i) => {
        if (Math.abs(px(step) - x) < Math.abs(px(steps[nearest]) - x)) nearest = i;
      });
      show(nearest);
    });
  }

  // The page of a run -----------------------------------------------------------------------------
  const TITLES = {
    data_value: "Q of the data", target_value: "Target value",
    conservative_gap: "CQL penalty", entropy_temperature: "Entropy temperature",
    actor_gradient_norm: "Gradient norm, actor", critics_gradient_norm: "Gradient norm, critics",
    temperature_gradient_norm: "Gradient norm, temperature", td_loss: "TD loss",
  };
  const titleOf = (name) => TITLES[name] ?? (name[0].toUpperCase() + name.slice(1)).replaceAll("_", " ");
  // What tells a sick run from a healthy one comes first.
  const rank = (name) => (Object.keys(TITLES).indexOf(name) + 100) % 100;

  function chartsOf(run) {
    const [low, high] = shared(run.ends);
    const seeds = run.seeds.map((seed, index) => ({
      name: `seed ${seed.seed}`, look: index, x: shared(seed.steps), returns: seed.return, at: shared(seed.at),
      curves: seed.curves,
    }));
    const scored = low !== null && high !== null;
    const score = (value) => (value === null ? null : (100 * (value - low)) / (high - low));
    const evaluated = seeds.filter((seed) => seed.x.length);
    const learning = [];
    if (evaluated.length) {
      const lines = (of) => evaluated.map((seed) => ({ ...seed, y: seed.returns.map(of) }));
      const [reference, value] = shared(run.reference);
      if (scored) learning.push(chart("Normalised score", "Gradient steps", lines(score), false, reference));
      learning.push(chart("Return per episode", "Gradient steps", lines((each) => each), false, value));
    }
    const names = [...new Set(seeds.flatMap((seed) => Object.keys(seed.curves)))];
    names.sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
    const diagnostics = names.map((name) => chart(titleOf(name), "Gradient steps",
      seeds.filter((seed) => name in seed.curves).map((seed) => ({ ...seed, x: seed.at, y: seed.curves[name] }))));
    const against = evaluated.filter((seed) => "data_value" in seed.curves).map((seed) => {
      const q = new Map(seed.at.map((step, i) => [step, seed.curves.data_value[i]]));
      const both = seed.x.map((step, i) => [seed.returns[i], q.get(step) ?? null])
        .filter(([value, other]) => value !== null && other !== null);
      return { ...seed, x: both.map(([value]) => value), y: both.map(([, value]) => value) };
    }).filter((seed) => seed.x.length);
    if (against.length) {
      diagnostics.splice(1, 0, chart("Q value against return", "Return per episode", against, true));
    }
    return [learning, diagnostics];
  }

  function legendOf(run, reference) {
    const key = (style, text) => make("li", {}, make("svg", { viewBox: "0 0 40 10", "aria-hidden": "true" },
      make("path", { d: "M0 5L40 5", style: `${style};fill:none;stroke-width:2.5` })), text);
    return make("ul", { class: "legend", "aria-label": "Legend" },
      ...run.seeds.map((seed, index) =>
        key(look(index), `seed ${seed.seed}${seed.status === "finished" ? "" : ` (${seed.status})`}`)),
      reference ? key("stroke:var(--soft);stroke-dasharray:4 3", reference.toLowerCase()) : null);
  }

  function tableOf(title, columns, rows, caption, kind = "sortable") {
    const table = make("table", { class: kind },
      make("caption", kind === "pairs" ? { class: "unseen" } : {}, title, caption ? make("span", {}, caption) : null),
      make("thead", {}, make("tr", {}, ...columns.map((column) => make("th", { scope: "col" }, column)))),
      make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell, index) =>
        (index ? make("td", {}, cell) : make("th", { scope: "row" }, ...breakable(cell))))))));
    if (kind === "sortable") makeSortable(table);
    return make("div", { class: "scroll", role: "region", "aria-label": title, tabindex: "0" }, table);
  }

  // A long name may be broken after a dot or an underscore.
  const breakable = (name) => name.split(/(?<=[._])/).flatMap((part, i) => (i ? [make("wbr"), part] : [part]));

  function* flattened(value, name = "") {
    if (value !== null && typeof value === "object" && !Array.isArray(value)) {
      for (const key of Object.keys(value)) yield* flattened(value[key], name ? `${name}.${key}` : key);
    } else {
      yield [name, typeof value === "string" ? value : JSON.stringify(value)];
    }
  }

  function commandOf(run) {
    const several = run.commands.length > 1;
    return [make("h3", {}, several ? "The commands that reproduce the numbers" : "The command that reproduces the number"),
      ...run.commands.flatMap((command) => {
        const button = make("button", { type: "button" }, "Copy");
        button.addEventListener("click", async () => {
          await navigator.clipboard.writeText(command);
          said.textContent = "Copied.";
        });
        return [make("pre", { tabindex: "0" }, make("code", {}, command)), navigator.clipboard ? button : null];
      })];
  }

  function turn(index) {
    const link = (to, text) => (data.runs[to]
      ? make("a", { href: `#${data.runs[to].id}` }, `${text}: ${data.runs[to].algorithm} on ${data.runs[to].dataset}`)
      : null);
    return make("nav", { class: "turn", "aria-label": "Runs" }, make("a", { href: "#runs" }, "All runs"),
      link(index - 1, "Previous"), link(index + 1, "Next"));
  }

  function drawRun(index) {
    const run = data.runs[index];
    const [learning, diagnostics] = chartsOf(run);
    const [kept, all] = run.seeds.reduce((most, seed) => (seed.kept[1] > most[1] ? seed.kept : most), [0, 0]);
    const thinned = kept < all ? ` Of ${all} evaluations, ${kept} are drawn; the tables are of all.` : "";
    const [, mean, name] = shared(run.reference);
    const known = learning.length && mean !== null ? name : null;
    const hint = `The arrow keys read a chart's values off, once it has the focus.${thinned}`;
    const keys = [make("p", { class: "hint" }, hint), legendOf(run, known)];
    const charts = (title, drawn) => (drawn.length
      ? [make("h3", {}, title), ...keys.splice(0), make("div", { class: "charts" }, ...drawn)] : []);
    page.replaceChildren(
      turn(index),
      make("h2", { id: "run-heading", tabindex: "-1" }, run.title),
      run.warnings.length
        ? make("ul", { class: "warnings" }, ...run.warnings.map((text) => make("li", {}, text))) : "",
      ...commandOf(run).filter((part) => part !== null),
      ...run.grids.map((grid) => tableOf(grid.title, shared(grid.columns), grid.rows, shared(grid.caption))),
      ...charts("Curves", learning),
      ...charts("Diagnostics", diagnostics),
      make("h3", {}, "How the numbers came about"),
      make("ul", {}, ...run.notes.map((number) => make("li", {}, shared(number)))),
      make("h3", {}, "Configuration"),
      tableOf("Configuration", ["Setting", "Value"], [...flattened(shared(run.config))], "", "pairs"),
      make("h3", {}, "Provenance"),
      ...run.provenance.map((number) => tableOf("Provenance", ["What", "Value"], Object.entries(shared(number)), "", "pairs")),
      turn(index),
    );
    page.querySelectorAll(".scroll").forEach(watch);
  }

  function show() {
    const wanted = location.hash.slice(1);
    const index = data.runs.findIndex((run) => run.id === wanted);
    const onRun = index >= 0;
    overview.hidden = onRun;
    page.hidden = !onRun;
    if (onRun) {
      drawRun(index);
      document.title = `${data.runs[index].title} · ${reportTitle}`;
      window.scrollTo(0, 0);
      document.getElementById("run-heading").focus({ preventScroll: true });
    } else {
      page.replaceChildren();
      document.title = reportTitle;
      const target = wanted && document.getElementById(wanted);
      if (target) {
        target.scrollIntoView();
        target.querySelector("h2")?.focus({ preventScroll: true });
      }
    }
  }

  const filter = document.getElementById("filter");
  filter.addEventListener("input", () => {
    const wanted = filter.value.trim().toLowerCase();
    const rows = [...document.querySelectorAll("#runs tbody tr")];
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    said.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} runs shown.`;
  });
  document.querySelectorAll("table.sortable").forEach(makeSortable);
  document.querySelectorAll(".scroll").forEach(watch);
  // It must not lead away from a run's page.
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    document.getElementById("content").focus();
  });
  window.addEventListener("hashchange", show);
  show();
})();
