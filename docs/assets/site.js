// The theme gives every block of code a landmark of the same name; number them.
(() => {
  const name = () => {
    document.querySelectorAll("nav.md-code__nav").forEach((nav, number) => {
      const label = `Code ${number + 1}`;
      if (nav.getAttribute("aria-label") !== label) nav.setAttribute("aria-label", label);
    });
  };
  name();
  new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
})();
