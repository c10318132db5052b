// Headings of sortable tables become buttons; rows are sorted inside their group. Without JavaScript nothing is lost.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.title = "Sort by this column";
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      for (const body of table.tBodies) {
        const rows = [...body.rows].filter((row) => !row.classList.contains("heading"));
        body.append(...rows.sort((a, b) => compare(a.cells[column], b.cells[column], down)));
      }
    });
  });
}
// Numbers by value, then texts; what has no number stays last in both orders.
function compare(a, b, down) {
  const one = a && "v" in a.dataset, other = b && "v" in b.dataset;
  if (one !== other) return one ? -1 : 1;
  const texts = [a, b].map((cell) => cell?.textContent ?? "");
  const numbers = one ? [a.dataset.v, b.dataset.v] : texts.map((text) => Number.parseFloat(text.replace(/[≥≤,\s]/g, "").replace("−", "-")));
  const order = numbers[0] - numbers[1] || texts[0].localeCompare(texts[1], "en", { numeric: true });
  return down ? -order : order;
}
// Folded parts are printed too.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => (one.open = true)));
