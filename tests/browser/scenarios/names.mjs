// Names that try to be something else.
import assert from "node:assert/strict";
import { assertAccessible, dialog, openGroup } from "../browser.mjs";
import { fakeFiles, file } from "../fakes.mjs";

const SCRIPT = "<script>alert(1)</script>.txt";
const IMAGE = "<img src=x onerror=alert(1)>.png";
const TURNED = "invoice\u202efdp.exe";
const FAMILY = "\u{1f468}\u200d\u{1f469}\u200d\u{1f467}\u200d\u{1f466} trip.mp4";
const HIDDEN = "a\u200bb.txt";
const LONG = `${"n".repeat(200)}.txt`;
const ARABIC = "\u0645\u0644\u0641.pdf";
const NAMES = [SCRIPT, IMAGE, TURNED, FAMILY, HIDDEN, LONG, ARABIC, "&lt;b&gt;.md"];

async function names_are_text_and_nothing_else({ nikPage: page }) {
  await fakeFiles(page, NAMES.length, (index) => file(index, NAMES[index]));
  await openGroup(page, "lab");
  const names = page.locator(".files .row-link bdi");
  await names.nth(NAMES.length - 1).waitFor();
  const shown = await names.allTextContents();
  assert.equal(shown[0], SCRIPT);
  assert.equal(shown[1], IMAGE);
  assert.equal(shown[2], "invoiceU+202Efdp.exe", "a character that turns text is written out");
  assert.equal(shown[3], FAMILY, "an emoji of several signs stays one");
  assert.equal(shown[4], "aU+200Bb.txt");
  assert.equal(shown[5], LONG);
  assert.equal(shown[6], ARABIC);
  assert.equal(shown[7], "&lt;b&gt;.md");
  assert.equal(await page.locator("#page script, #page img").count(), 0);
  const isolated = await names.evaluateAll((list) =>
    list.every((name) => getComputedStyle(name).unicodeBidi === "isolate"));
  assert.ok(isolated);
  const overflow = () => page.evaluate(() =>
    document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.equal(await overflow(), 0, "a long name does not widen the page");
  await names.nth(5).click();
  await dialog(page).getByText(LONG).waitFor();
  await assertAccessible(page, "a dialog with a long name");
  await page.keyboard.press("Escape");
  await page.unroute("**/api/v1/command");
  await page.reload();
}

export const scenarios = [names_are_text_and_nothing_else];
