(() => {
  "use strict";
  // The name of a point beside it, at once, by pointer and by keyboard; arrows lead from point to point.
  const tip = document.getElementById("tip");
  let shown = null;
  const show = (point) => {
    shown = point;
    const box = point.getBoundingClientRect();
    tip.textContent = point.getAttribute("aria-label");
    const left = Math.min(Math.max(8, box.left + box.width / 2 - tip.offsetWidth / 2), innerWidth - tip.offsetWidth - 8);
    const above = box.top - tip.offsetHeight - 8;
    tip.style.left = left + "px";
    tip.style.top = (above > 4 ? above : box.bottom + 8) + "px";
    tip.style.visibility = "visible";
  };
  const hide = () => { shown = null; tip.style.visibility = "hidden"; };
  for (const svg of document.querySelectorAll(".chart svg")) {
    for (const title of svg.querySelectorAll(".point > title")) {
      title.parentElement.setAttribute("aria-label", title.textContent);
      title.remove(); // the browser would show it on top
    }
    const of = (event) => event.target.closest(".point");
    svg.addEventListener("pointerover", (event) => of(event) ? show(of(event)) : hide());
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("focusin", (event) => of(event) && show(of(event)));
    svg.addEventListener("focusout", hide);
    svg.addEventListener("keydown", (event) => {
      if (event.key === "Escape") return hide();
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!step || !of(event)) return;
      event.preventDefault();
      const points = [...svg.querySelectorAll(".point")];
      const next = points[points.indexOf(of(event)) + step];
      if (next) next.focus();
    });
  }
  // The keyboard scrolls to a point, and its name goes along; under the pointer is something else by then.
  addEventListener("scroll", () => shown && shown === document.activeElement ? show(shown) : hide(), { passive: true });

  for (const slider of document.querySelectorAll(".slider")) {
    const stage = slider.querySelector(".stage");
    const range = slider.querySelector("input[type=range]");
    const before = slider.querySelector(".before");
    const first = before ? before.src : ""; // not in its button again: pictures are large
    const move = () => stage.style.setProperty("--at", range.value + "%");
    range.addEventListener("input", move);
    for (const choice of slider.querySelectorAll("input[type=radio]")) {
      choice.addEventListener("change", () => {
        before.src = choice.value || first;
        stage.querySelector(".l").textContent = choice.dataset.title;
      });
    }
    stage.addEventListener("pointermove", (event) => {
      if (event.pointerType === "mouse" && !event.buttons) return;
      const box = stage.getBoundingClientRect();
      range.value = 100 * (event.clientX - box.left) / box.width;
      move();
    });
    move();
  }

  for (const button of document.querySelectorAll(".copy")) {
    button.hidden = !navigator.clipboard;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.parentElement.querySelector("pre").textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }
})();
