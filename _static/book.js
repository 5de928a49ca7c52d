// Repairs: what axe-core finds in the theme's markup, and what logs a warning.
document.addEventListener("DOMContentLoaded", () => {
  const all = (selector) => [...document.querySelectorAll(selector)];

  for (const e of all(".bd-sidebar-primary")) {
    e.setAttribute("role", "complementary"); // the book's title stands in no landmark
    e.setAttribute("aria-label", "Book");
  }
  for (const e of all(".bd-sidebar-primary summary")) e.setAttribute("aria-label", "Pages below");
  for (const e of all(".citation-list > .citation")) e.setAttribute("role", "listitem");

  // Sphinx's search takes the dots in the anchor of a module for classes.
  if (typeof Search !== "undefined") {
    const convert = Search.htmlToText;
    Search.htmlToText = (html, anchor) => convert(html, anchor && "#" + CSS.escape(anchor.slice(1)));
  }

  // A box that scrolls can be reached by keyboard; the theme sees to code only.
  const scrolling = () => {
    for (const e of all(".pst-scrollable-table-container, mjx-container")) {
      const scrolls = e.scrollWidth > e.clientWidth + 1;
      e.classList.toggle("scrolls", scrolls);
      if (scrolls) e.tabIndex = 0;
    }
  };
  for (const event of ["resize", "click"]) addEventListener(event, () => setTimeout(scrolling));
  addEventListener("load", () => Promise.resolve(window.MathJax?.startup?.promise).then(scrolling));
});
