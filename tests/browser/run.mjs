// Tests of the pages of members and operators: real trackers and clients, and a real browser.
//
//   npm ci && npm test -- [--binaries DIR] [--chromium PATH] [--screenshots DIR] [--only FILE]
//
// DIR holds the programs `tracker` and `client`; POSSE_BIN names it too. The default is
// `target/debug`. FILE is one of `scenarios`, as `peers`, whose scenarios begin with clients of
// their own.
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { assertQuiet, launch } from "./browser.mjs";
import { Network } from "./network.mjs";
import { scenarios as access } from "./scenarios/access.mjs";
import { scenarios as invitations } from "./scenarios/invitations.mjs";
import { scenarios as look } from "./scenarios/look.mjs";
import { scenarios as names } from "./scenarios/names.mjs";
import { scenarios as newcomer } from "./scenarios/newcomer.mjs";
import { scenarios as operator } from "./scenarios/operator.mjs";
import { scenarios as operatorLook } from "./scenarios/operator_look.mjs";
import { scenarios as peers } from "./scenarios/peers.mjs";
import { scenarios as rows } from "./scenarios/rows.mjs";
import { scenarios as sharing } from "./scenarios/sharing.mjs";
import { scenarios as start } from "./scenarios/start.mjs";
import { scenarios as trouble } from "./scenarios/trouble.mjs";

const LONGEST = 600000;
const { values } = parseArgs({
  options: {
    binaries: { type: "string" }, chromium: { type: "string" }, screenshots: { type: "string" },
    only: { type: "string" },
  },
});
/** Scenarios that need none before them. */
const alone = { newcomer, peers };
if (values.only && !(values.only in alone)) {
  console.error(`--only takes one of ${Object.keys(alone).join(", ")}`);
  process.exit(2);
}
const root = fileURLToPath(new URL("../..", import.meta.url));
const binaries = resolve(values.binaries ?? process.env.POSSE_BIN ?? join(root, "target/debug"));
const chromium = values.chromium ?? process.env.CHROMIUM ?? "/usr/bin/chromium";
for (const path of [join(binaries, "tracker"), join(binaries, "client"), chromium]) {
  if (!existsSync(path)) {
    console.error(`${path} is missing; see the options at the top of run.mjs`);
    process.exit(2);
  }
}

const network = await Network.start(binaries);
const browser = await launch(chromium);
const stage = {
  network, browser, screenshots: values.screenshots && resolve(values.screenshots),
  nik: await network.client("nik"), bob: await network.client("bob"),
};
after(async () => {
  await browser.close();
  await network.stop();
});

/** Keeps what the pages show when a scenario fails. */
async function showFailure(t) {
  for (const name of ["nik", "bob", "operator"]) {
    const page = stage[`${name}Page`];
    if (!page || !stage.screenshots) continue;
    const path = join(stage.screenshots, `failed-${name}.png`);
    await page.screenshot({ path, timeout: 5000 }).then(() => t.diagnostic(path), () => {});
    t.diagnostic(`${name}: ${JSON.stringify(page.complaints)}`);
  }
}

// Each scenario goes on where the one before it has ended.
let hasFailed = false;
const scenarios = [start, sharing, access, rows, names, peers, invitations, newcomer, look, trouble, operator,
  operatorLook];
for (const run of values.only ? alone[values.only] : scenarios.flat()) {
  test(run.name.replaceAll("_", " "), { timeout: LONGEST }, async (t) => {
    if (hasFailed) return t.skip("an earlier scenario has failed");
    hasFailed = true;
    try {
      await run(stage, t);
    } catch (error) {
      await showFailure(t);
      throw error;
    }
    const pages = [stage.nikPage, stage.bobPage, stage.operatorPage];
    for (const page of pages.filter(Boolean)) assertQuiet(page);
    hasFailed = false;
  });
}
