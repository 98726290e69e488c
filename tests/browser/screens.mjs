// What every screen of a page must hold: access, width, and modules that are loaded early.
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { assertAccessible, dialog } from "./browser.mjs";

const SIZES = [[360, 740], [820, 1000], [1440, 900]];

/** Opens each of `screens` at three widths, light and dark: axe-core, no sideways scrolling. */
export async function assertLooksRight(page, screens, screenshots) {
  if (screenshots) await mkdir(screenshots, { recursive: true });
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    for (const [width, height] of SIZES) {
      await page.setViewportSize({ width, height });
      for (const [name, show] of Object.entries(screens)) {
        const what = `${name} at ${width} px, ${colorScheme}`;
        await show(page);
        await assertAccessible(page, what);
        const overflow = await page.evaluate(() =>
          document.documentElement.scrollWidth - document.documentElement.clientWidth);
        assert.equal(overflow, 0, `${what} scrolls sideways`);
        if (screenshots) {
          await page.screenshot({ path: join(screenshots, `${name}-${width}-${colorScheme}.png`) });
        }
        if (await dialog(page).isVisible()) await page.keyboard.press("Escape");
        await dialog(page).waitFor({ state: "detached" });
      }
    }
  }
  await page.emulateMedia({ colorScheme: null, reducedMotion: null });
  await page.setViewportSize({ width: 1280, height: 800 });
}

/** A module that is missing in the list would be asked for only after its importer has come. */
export async function assertPreloaded(page) {
  const [loaded, listed] = await page.evaluate(() => {
    const entries = performance.getEntriesByType("resource").map(({ name }) => name);
    const links = [...document.querySelectorAll("link[rel=modulepreload]")];
    const scripts = [...document.querySelectorAll("script")].map(({ src }) => src);
    const modules = entries.filter((name) => name.endsWith(".js") && !scripts.includes(name));
    return [modules, links.map(({ href }) => href)];
  });
  assert.deepEqual([...new Set(loaded)].sort(), listed.sort());
}
