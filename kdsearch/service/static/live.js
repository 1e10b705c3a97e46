// Keeps an open page alive: what has changed on the server is put into the page, which keeps its focus,
// its scrolling and what was typed. Sorts tables, finds studies, opens a trial from its dot.
"use strict";

const order = new Map(); // how the reader sorted each table: [column, direction] by its caption

function syncAttributes(old, fresh) {
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
}

// Makes `old` like `fresh`, touching only what differs.
function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    old.nodeValue = fresh.nodeValue;
    return;
  }
  syncAttributes(old, fresh);
  const coming = [...fresh.childNodes];
  const present = [...old.childNodes];
  coming.forEach((child, at) => (at < present.length ? morph(present[at], child) : old.append(child)));
  present.slice(coming.length).forEach((child) => child.remove());
}

function value(row, column) {
  const text = row.cells[column]?.textContent.trim() ?? "";
  const number = parseFloat(text.replace(/,/g, ""));
  return Number.isNaN(number) ? text : number;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === typeof b) return a.localeCompare(b);
  return typeof a === "number" ? -1 : 1;
}

function sort(table) {
  const chosen = order.get(table.caption.textContent);
  table.querySelectorAll("thead th").forEach((head, at) => {
    const button = head.querySelector("button") ?? document.createElement("button");
    if (!button.isConnected && !button.parentNode) {
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
    }
    if (chosen?.[0] === at) head.setAttribute("aria-sort", chosen[1] > 0 ? "ascending" : "descending");
    else head.removeAttribute("aria-sort");
  });
  if (!chosen) return;
  const [column, direction] = chosen;
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => direction * compare(value(a, column), value(b, column)));
  table.tBodies[0].append(...rows);
}

function prepare(root) {
  root.querySelectorAll("table.sortable").forEach(sort);
  const find = document.getElementById("find");
  if (!find) return;
  const wanted = find.value.trim().toLowerCase();
  root.querySelectorAll("[data-find]").forEach((item) => (item.hidden = !item.dataset.find.toLowerCase().includes(wanted)));
}

function put(id, fresh) {
  const old = document.getElementById(id);
  if (!old || !fresh) return;
  prepare(fresh);
  morph(old, document.adoptNode(fresh));
}

function say(text) {
  const place = document.getElementById("liveness");
  if (place && place.textContent !== text) place.textContent = text;
}

let fetching = false;
async function renew() {
  if (fetching) return;
  fetching = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    ["headline", "standing", "answer"].forEach((id) => put(id, fresh.getElementById(id)));
    say(fresh.getElementById("liveness")?.textContent ?? "");
  } finally {
    fetching = false;
  }
}

function hear(event) {
  const { standing, mark } = JSON.parse(event.data);
  if (standing) {
    const fresh = document.createElement("div");
    fresh.id = "standing";
    fresh.innerHTML = standing;
    put("standing", fresh);
  }
  if (document.getElementById("answer").dataset.mark !== mark) renew().catch(() => say("The service does not answer."));
}

function listen() {
  const source = new EventSource(document.body.dataset.events + location.search);
  source.addEventListener("change", hear);
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 15000);
  });
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("table.sortable th button");
  if (button) {
    const table = button.closest("table");
    const at = button.parentElement.cellIndex;
    const before = order.get(table.caption.textContent);
    order.set(table.caption.textContent, [at, before?.[0] === at ? -before[1] : 1]);
    sort(table);
  }
  const trial = event.target.closest("[data-trial]");
  if (trial && document.body.dataset.trials) location.href = `${document.body.dataset.trials}/${trial.dataset.trial}`;
});
document.getElementById("find")?.addEventListener("input", () => prepare(document));
document.getElementById("find")?.form.addEventListener("submit", (event) => event.preventDefault());
// A form's empty fields ask for nothing: they are left out of the address.
document.addEventListener("submit", (event) => {
  for (const field of event.target.querySelectorAll("select, input")) if (field.value === "") field.disabled = true;
});
addEventListener("pageshow", () => document.querySelectorAll("form :disabled").forEach((field) => (field.disabled = false)));
prepare(document);
if (document.body.dataset.events) listen();
