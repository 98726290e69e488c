// Who gives and who takes, which pieces are where, and the rates of both directions. Two clients of
// their own, so that these scenarios also run alone.
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { assertQuiet, buttonOf, dialog, go, open, openGroup, row } from "../browser.mjs";
import { assertLooksRight } from "../screens.mjs";
import { until } from "../until.mjs";

const FILE = "many pieces.bin";
const LENGTH = 48 << 20;
const PIECES = LENGTH / (512 << 10);
const LIMIT = "400K";

async function run(network, name, ...commands) {
  const { status, lines } = await network.prompt(name, ...commands);
  assert.equal(status, 0, `${commands.join("; ")}: ${lines.join("\n")}`);
}

async function openPage(stage, client) {
  const page = await open(stage.browser);
  await page.goto(await client.link());
  await page.getByRole("heading", { name: "Transfers" }).waitFor();
  return page;
}

async function one_member_gives_and_another_takes(stage) {
  const { network } = stage;
  const [giver, taker] = [await network.client("giver"), await network.client("taker")];
  const account = (name) => ["create_user", "login"].map((verb) =>
    `${verb} ${name} 'correct horse'`);
  const path = `${giver.directory("inbox")}/${FILE}`;
  await writeFile(path, Buffer.alloc(LENGTH, (at) => at * 31));
  await run(network, "giver", ...account("giver"), "create_group crew");
  await run(network, "taker", ...account("taker"), "join_group crew");
  await run(network, "giver", "accept_request crew taker", `upload_file '${path}' crew`);
  await run(network, "taker", `limits download ${LIMIT}`,
    `download_file crew '${FILE}' '${taker.directory("downloads")}'`);
  stage.giver = { client: giver, page: await openPage(stage, giver) };
  stage.taker = { client: taker, page: await openPage(stage, taker) };
}

const map = (page) => dialog(page).getByRole("img", { name: /^Pieces of/ });
const peers = (page) => dialog(page).getByRole("table", { name: /^Peers of/ });

async function showDownload(page) {
  await go(page, "transfers");
  await buttonOf(page, "Details of", FILE).click();
  await map(page).waitFor();
  await peers(page).scrollIntoViewIfNeeded();
}

async function showShare(page) {
  await go(page, "shares");
  await buttonOf(page, "Details of", FILE).click();
  await peers(page).scrollIntoViewIfNeeded();
}

async function showGraph(page) {
  await go(page, "activity");
  await page.getByText(/MB in all/).first().waitFor();
}

async function a_download_shows_its_pieces_and_its_peers({ taker: { page } }) {
  await go(page, "transfers");
  await buttonOf(page, "Details of", FILE).focus();
  await page.keyboard.press("Enter");
  const here = async () => Number(/(\d+) here/.exec(await map(page).getAttribute("aria-label"))[1]);
  const begin = await until("a piece", here);
  await until("another piece", async () => await here() > begin);
  const told = await map(page).getAttribute("aria-label");
  const numbers = [...told.matchAll(/(\d+) (?:here|in part|asked for|missing|that no peer has)/g)];
  const sum = numbers.reduce((all, [, number]) => all + Number(number), 0);
  assert.equal(sum, PIECES, told);
  assert.match(told, /\b0 that no peer has/);
  assert.ok(await map(page).locator("path.have").count() === 1, "what is here is drawn");
  const peer = peers(page).getByRole("row").filter({ hasText: "giver" });
  await peer.getByText(/[kM]B\/s/).waitFor();
  await peer.getByText("100 %").waitFor();
  await peer.getByText(/^gives/).waitFor();
  await peer.getByText(/^to 127\.0\.0\.1:\d+, direct$/).waitFor();
  await page.keyboard.press("Escape");
  await dialog(page).waitFor({ state: "detached" });
}

async function a_share_shows_who_takes_it({ giver: { page } }) {
  await showShare(page);
  const peer = peers(page).getByRole("row").filter({ hasText: "taker" });
  await peer.getByText(/[kM]B\/s/).waitFor();
  await peer.getByText(/^takes/).waitFor();
  await dialog(page).getByText(/MB, now .*B\/s/).waitFor();
  await dialog(page).getByText("Sent to these devices").waitFor();
  await page.keyboard.press("Escape");
}

/** Answers for the peers of a file, of which each has come about in another way. */
async function fakeWays(page) {
  const ways = [{}, { lan: true }, { punched: true }, { relayed: true }];
  await page.route("**/api/v1/groups/*/files/*/peers", async (route) => {
    const answer = await (await route.fetch()).json();
    const peers = ways.map((way, index) => ({
      ...answer.peers[0], ...way, device: String(index).repeat(64), address: `10.0.0.${index}:7`,
    }));
    return route.fulfill({ json: { ...answer, peers } });
  });
}

async function a_peer_says_in_which_way_it_was_reached({ taker: { page } }) {
  await fakeWays(page);
  await showDownload(page);
  for (const way of ["to 10.0.0.0:7, direct", "to 10.0.0.1:7, LAN", "to 10.0.0.2:7, punched",
    "relayed by 10.0.0.3:7"]) {
    await peers(page).getByText(way, { exact: true }).waitFor();
  }
  await page.unroute("**/api/v1/groups/*/files/*/peers");
  await page.keyboard.press("Escape");
  await dialog(page).waitFor({ state: "detached" });
  const told = await page.evaluate(async () => {
    const { peersText } = await import("/parts/transfer_text.js");
    return [{ peers: 3 }, { peers: 1, relayed: 1 }, { peers: 4, lan: 1, punched: 1, relayed: 1 }]
      .map((download) => peersText(download));
  });
  assert.deepEqual(told,
    ["3 peers", "1 peer, relayed", "4 peers, 1 LAN, 1 punched, 1 relayed"]);
  assertQuiet(page);
}

async function the_graph_shows_both_directions({ giver, taker }) {
  for (const [{ page }, pattern] of [
    [giver, /^Download 0 B\/s.*; upload .*[kM]B\/s, peak/],
    [taker, /^Download .*[kM]B\/s, peak .*; upload 0 B\/s/],
  ]) {
    await go(page, "activity");
    await page.getByRole("img", { name: pattern }).waitFor();
    await page.getByText(/MB in all/).first().waitFor();
  }
}

async function pieces_and_peers_are_accessible_at_every_width({ giver, taker, screenshots }) {
  await assertLooksRight(taker.page, { peers_download: showDownload }, screenshots);
  const screens = { peers_share: showShare, graph: showGraph };
  await assertLooksRight(giver.page, screens, screenshots);
  for (const [page, show] of [[taker.page, showDownload], [giver.page, showShare]]) {
    for (const width of [320, 1920]) {
      await page.setViewportSize({ width, height: 800 });
      await show(page);
      const body = dialog(page).locator(".dialog-body");
      const over = await body.evaluate((element) => element.scrollWidth - element.clientWidth);
      assert.equal(over, 0, `the dialog scrolls sideways at ${width} px`);
      await page.keyboard.press("Escape");
      await dialog(page).waitFor({ state: "detached" });
    }
    await page.setViewportSize({ width: 320, height: 800 });
    await go(page, "activity");
    await page.getByText(/in all/).first().waitFor();
    const over = await page.evaluate(() =>
      document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.equal(over, 0, "the graph scrolls sideways at 320 px");
    assertQuiet(page);
  }
}

async function new_files_and_members_appear_by_themselves({ network, giver: { client, page } }) {
  await openGroup(page, "crew");
  await row(page, FILE).waitFor();
  const begun = Date.now();
  const path = `${client.directory("inbox")}/later.txt`;
  await writeFile(path, "later");
  // Another member shares it: what this page does itself it knows without an event.
  await run(network, "taker", `upload_file '${path}' crew`);
  await row(page, "later.txt").waitFor();
  await run(network, "taker", "remove_file crew later.txt --yes");
  await row(page, "later.txt").waitFor({ state: "detached" });
  // Without events the page reads the list every 20 seconds.
  assert.ok(Date.now() - begun < 15000, "no event told of the file");
  await page.getByText("2 members").waitFor();
  await run(network, "taker", "leave_group crew");
  await page.getByText("1 member ").waitFor();
  assertQuiet(page);
}

async function a_paused_download_claims_no_rate({ taker: { page } }) {
  await go(page, "transfers");
  await buttonOf(page, "Pause", FILE).click();
  await row(page, FILE).getByText("Paused").waitFor();
  await page.locator(".rates").getByText("0 B/s").first().waitFor();
  await openGroup(page, "crew");
  await row(page, FILE).waitFor();
  assertQuiet(page);
}

export const scenarios = [
  one_member_gives_and_another_takes,
  a_download_shows_its_pieces_and_its_peers,
  a_peer_says_in_which_way_it_was_reached,
  a_share_shows_who_takes_it,
  the_graph_shows_both_directions,
  pieces_and_peers_are_accessible_at_every_width,
  a_paused_download_claims_no_rate,
  new_files_and_members_appear_by_themselves,
];
