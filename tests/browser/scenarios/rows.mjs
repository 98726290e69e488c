// A group of 100,000 files.
import assert from "node:assert/strict";
import { openGroup } from "../browser.mjs";
import { fakeFiles, file } from "../fakes.mjs";
import { until } from "../until.mjs";

const COUNT = 100000;
const name = (index) => `file ${String(index).padStart(6, "0")}`;

async function a_hundred_thousand_rows_are_scrolled({ nikPage: page }, t) {
  const asked = await fakeFiles(page, COUNT, (index) => file(index, name(index)));
  await openGroup(page, "lab");
  await page.getByText(name(0)).waitFor();
  assert.ok(asked.length <= 2, `${asked.length} pages were read before the list was scrolled`);
  await page.getByText("files so far").waitFor();

  // The longest time between two frames while the whole list goes by.
  await page.evaluate(() => {
    globalThis.frames_ = [];
    let last = performance.now();
    const next = (now) => {
      globalThis.frames_.push(now - last);
      last = now;
      requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
  });
  const begun = Date.now();
  await until("the end of the list", async () => {
    await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
    return page.getByText("100,000 files", { exact: true }).isVisible();
  }, 180);
  await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
  await page.getByText(name(COUNT - 1)).waitFor();
  const frames = await page.evaluate(() => globalThis.frames_.toSorted((a, b) => a - b));
  const at = (part) => frames[Math.floor((frames.length - 1) * part)].toFixed(0);
  t.diagnostic(`${asked.length} pages in ${Date.now() - begun} ms; time between frames: ` +
    `median ${at(0.5)} ms, 99 % ${at(0.99)} ms, longest ${at(1)} ms`);
  const rows = await page.locator(".list-body .list-row").count();
  assert.ok(rows < 100, `${rows} rows exist at a time`);

  // Rows far away are read again when they are wanted.
  await page.evaluate(() => scrollTo(0, 0));
  await page.getByText(name(0)).waitFor();
  const middle = 43210;
  await page.evaluate((index) => {
    const list = document.querySelector(".list-body");
    scrollTo(0, list.offsetTop + (list.offsetHeight / 100000) * index);
  }, middle);
  await page.getByText(name(middle)).waitFor();
  await page.unroute("**/api/v1/command");
  await page.reload();
}

export const scenarios = [a_hundred_thousand_rows_are_scrolled];
