// Somebody with a link, a terminal and a browser, on a machine that has nothing of Posse but the
// program: each thing that they do is counted. README says the number.
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { assertQuiet, button, buttonOf, dialog, open } from "../browser.mjs";
import { freePort } from "../network.mjs";
import { until } from "../until.mjs";

const PASSWORD = "correct horse";
const FILE = "welcome.bin";
const CONTENT = Buffer.alloc(3 << 20, (at) => at * 7);
/** Lines at the terminal, opening the page, clicks in it. */
const ACTIONS = 8;

async function a_member_sends_a_link(stage) {
  const host = await stage.network.client("host");
  const path = join(host.directory("inbox"), FILE);
  await writeFile(path, CONTENT);
  const account = ["create_user", "login"].map((verb) => `${verb} host '${PASSWORD}'`);
  const { status, lines } = await stage.network.prompt("host", ...account,
    "create_group hall", `upload_file '${path}' hall`, "invite hall");
  assert.equal(status, 0, lines.join("\n"));
  stage.link = lines.find((line) => line.startsWith("posse:join/"));
  assert.ok(stage.link, lines.join("\n"));
}

async function a_newcomer_downloads_after_eight_actions({ browser, network, link }) {
  let actions = 0;
  const act = async (doing) => {
    actions += 1;
    await doing;
  };
  const at = `127.0.0.1:${await freePort()}`;
  const terminal = await network.newcomer("zoe", "join", "--page", at);
  await act(/* typed the command */);
  for (const [asked, answer] of [
    [/invitation link .*: /, link], [/user name: /, "zoe"], [/password: /, PASSWORD],
    [/password again.*: /, PASSWORD],
  ]) {
    await terminal.shows(asked);
    await act(terminal.type(answer));
  }
  await terminal.shows(/you are a member of hall/);
  const address = (await terminal.shows(/http:\/\/\S+#code=\S+/)).trim();
  const page = await open(browser);
  await act(page.goto(address));
  await page.getByRole("heading", { level: 1, name: "hall" }).waitFor();
  assert.doesNotMatch(page.url(), /code=/, "the code stays in no history");
  await act(buttonOf(page, "Download", FILE).click());
  // The directory to begin with is chosen already.
  await until("a directory", () =>
    dialog(page).getByLabel("Directory", { exact: true }).inputValue());
  await act(button(dialog(page), "Download").click());
  const target = join(network.home, "zoe", FILE);
  const come = await until("the file", () => readFile(target).catch(() => null));
  assert.ok(come.equals(CONTENT));
  assert.equal(actions, ACTIONS);
  assertQuiet(page);
  await page.context().close();
  await terminal.stop();
}

export const scenarios = [a_member_sends_a_link, a_newcomer_downloads_after_eight_actions];
