// Of every page, with a chart or without.

// Paper cannot be unfolded.
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  for (const one of folded) one.open = true;
});
addEventListener("afterprint", () => { for (const one of folded) one.open = false; });

// On a phone a long table is folded away: there each row is a list.
if (matchMedia("screen and (max-width: 40rem)").matches) {
  for (const one of document.querySelectorAll("details.long")) one.open = false;
}

// A picture that was opened closes like a window.
addEventListener("keydown", ({ key }) => {
  const open = key === "Escape" && document.querySelector(".picture:target .close");
  if (open) open.click();
});
