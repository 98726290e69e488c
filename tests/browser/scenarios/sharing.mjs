// Files come in by drop and by path, and go out with progress, by range, and with trackers dying.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile, stat, writeFile } from "node:fs/promises";
import { button, buttonOf, chooseDirectory, dialog, go, openGroup, row } from "../browser.mjs";
import { until } from "../until.mjs";

/** The name of the long sound: 16 bits, two channels, 44,100 times a second. */
const SOUND = "long sound.wav";
const RATE = 176400;
const SECONDS = 120;
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** A WAVE file of noise. */
function sound(seconds) {
  const length = seconds * RATE;
  const bytes = Buffer.alloc(44 + length);
  bytes.write("RIFF", 0);
  bytes.writeUInt32LE(36 + length, 4);
  bytes.write("WAVEfmt ", 8);
  bytes.writeUInt32LE(16, 16);
  bytes.writeUInt16LE(1, 20);
  bytes.writeUInt16LE(2, 22);
  bytes.writeUInt32LE(44100, 24);
  bytes.writeUInt32LE(RATE, 28);
  bytes.writeUInt16LE(4, 32);
  bytes.writeUInt16LE(16, 34);
  bytes.write("data", 36);
  bytes.writeUInt32LE(length, 40);
  let noise = 1;
  for (let at = 44; at < bytes.length; at += 4) {
    noise = (Math.imul(noise, 1664525) + 1013904223) >>> 0;
    bytes.writeUInt32LE(noise, at);
  }
  return bytes;
}

/** Drops files, given by name and content, into the page. */
async function dropFiles(page, files) {
  const data = await page.evaluateHandle((contents) => {
    const transfer = new DataTransfer();
    for (const [name, content] of Object.entries(contents)) {
      transfer.items.add(new File([content], name));
    }
    return transfer;
  }, files);
  for (const name of ["dragenter", "dragover", "drop"]) {
    await page.dispatchEvent("main", name, { dataTransfer: data });
  }
}

async function a_member_drops_files_into_the_page({ nik, nikPage: page }) {
  await openGroup(page, "lab");
  await dropFiles(page, { "dropped.txt": "dropped", "sevens.bin": "7".repeat(3 << 20) });
  await dialog(page).getByText("These 2 files").waitFor();
  await chooseDirectory(page, nik.directory("inbox"));
  await button(page, "Upload and share").click();
  await row(page, "sevens.bin").waitFor();
  await row(page, "dropped.txt").waitFor();
  assert.equal(await readFile(`${nik.directory("inbox")}/dropped.txt`, "utf8"), "dropped");
}

async function a_dropped_file_replaces_nothing({ nik, nikPage: page }) {
  await openGroup(page, "lab");
  await dropFiles(page, { "sevens.bin": "8".repeat(20 << 20) });
  await button(page, "Upload and share").click();
  const uploads = page.getByRole("region", { name: "Uploads from this browser" });
  await uploads.getByText("a file of that name is there already").waitFor();
  await buttonOf(uploads, "Take", "sevens.bin").click();
  await uploads.waitFor({ state: "detached" });
  const { size } = await stat(`${nik.directory("inbox")}/sevens.bin`);
  assert.equal(size, 3 << 20);
}

async function a_member_shares_a_file_by_its_path(stage) {
  const { nik, nikPage: page } = stage;
  stage.sound = sound(SECONDS);
  await writeFile(`${nik.directory("inbox")}/${SOUND}`, stage.sound);
  await openGroup(page, "lab");
  await button(page, "Share from disk").click();
  const path = dialog(page).getByLabel("Path of the file");
  await path.fill(`${nik.directory("inbox")}/no such file`);
  await button(page, "Share").click();
  await dialog(page).getByRole("alert").filter({ hasText: "no such file" }).waitFor();
  await path.fill(`${nik.directory("inbox")}/${SOUND}`);
  await button(page, "Share").click();
  await row(page, SOUND).waitFor();
  await go(page, "shares");
  await row(page, SOUND).waitFor();
}

async function limitDownloads(page, text) {
  await go(page, "settings");
  await page.getByRole("textbox", { name: "Download rate" }).fill(text);
  await button(page, "Set: Download rate").click();
  await page.getByText("The limit is set.").waitFor();
}

async function a_download_shows_its_progress({ bob, bobPage: page }) {
  await limitDownloads(page, "1M");
  await openGroup(page, "lab");
  await buttonOf(page, "Download", "long").click();
  await chooseDirectory(page, bob.directory("downloads"));
  await dialog(page).getByRole("button", { name: "Download", exact: true }).click();
  await go(page, "transfers");
  const bar = page.getByRole("progressbar", { name: /long sound/ });
  const done = async () => Number(await bar.getAttribute("aria-valuenow"));
  await bar.waitFor();
  const begin = await until("the first progress", done);
  await until("more progress", async () => await done() > begin + 2);
  await row(page, SOUND).getByText(/MB\/s|kB\/s/).waitFor();
  await row(page, SOUND).getByText("1 peer").waitFor();
}

async function a_download_pauses_and_goes_on({ bobPage: page }) {
  await go(page, "transfers");
  await buttonOf(page, "Pause", SOUND).click();
  await row(page, SOUND).getByText("Paused").waitFor();
  await buttonOf(page, "Details of", SOUND).click();
  await dialog(page).getByText("Why it does or does not move").waitFor();
  await dialog(page).getByRole("button", { name: "Resume" }).click();
  await dialog(page).getByRole("button", { name: "Pause" }).waitFor();
  await page.keyboard.press("Escape");
  await dialog(page).waitFor({ state: "detached" });
  await row(page, SOUND).getByText("Downloading").waitFor();
}

/** Clients of earlier versions answer that there is no such route. */
async function servesContents(page) {
  const status = await page.evaluate(async () => {
    const headers = { Authorization: `Bearer ${localStorage.getItem("posse.token")}` };
    const path = "api/v1/groups/lab/files/long%20sound.wav/content";
    return (await fetch(path, { method: "HEAD", headers })).status;
  });
  return status !== 404;
}

async function a_file_plays_while_it_is_downloaded({ bobPage: page }, t) {
  if (!await servesContents(page)) {
    t.skip("this client has no route for contents");
    return;
  }
  await go(page, "transfers");
  const bar = page.getByRole("progressbar", { name: /long sound/ });
  await buttonOf(page, "Open", SOUND).click();
  const audio = page.locator("dialog audio");
  const played = () => audio.evaluate((element) => element.currentTime);
  await audio.waitFor();
  await until("the beginning", async () => await played() > 0.3);
  // Most of the file is not here yet: the pieces at that place come first.
  const place = SECONDS * 0.9;
  await audio.evaluate((element, seconds) => {
    element.currentTime = seconds;
  }, place);
  await until("a later part", async () => await played() > place + 0.3);
  await page.keyboard.press("Escape");
  const done = Number(await bar.getAttribute("aria-valuenow"));
  assert.ok(done < 90, `${done} % were here when 90 % of the sound was played`);
}

async function a_tracker_dies_on_the_way(stage) {
  const { network, bob, bobPage: page } = stage;
  await go(page, "transfers");
  await row(page, SOUND).getByText("Downloading").waitFor();
  await network.trackers[0].stop("SIGKILL");
  await go(page, "settings", "trackers");
  await page.getByText("not connected").waitFor();
  await page.getByRole("link", { name: "Trackers are degraded" }).waitFor();
  await limitDownloads(page, "");
  await go(page, "transfers");
  await page.getByRole("status").filter({ hasText: `${SOUND} is complete` }).waitFor();
  await row(page, SOUND).getByText("Complete").waitFor();
  const here = await readFile(`${bob.directory("downloads")}/${SOUND}`);
  assert.equal(sha256(here), sha256(stage.sound));
  await network.startTracker(1);
}

async function activity_and_shares_tell_what_happened({ nikPage, bobPage }) {
  await go(bobPage, "activity", "completed");
  await row(bobPage, SOUND).waitFor();
  await go(bobPage, "activity", "notifications");
  await bobPage.getByText("You became a member of lab.").waitFor();
  await bobPage.getByText(`${SOUND} of lab is complete.`).waitFor();
  await go(bobPage, "activity");
  await bobPage.getByRole("img", { name: /^Download .*, peak .*MB\/s;/ }).waitFor();
  await go(nikPage, "shares");
  await row(nikPage, SOUND).getByText(/MB sent/).waitFor();
}

export const scenarios = [
  a_member_drops_files_into_the_page,
  a_dropped_file_replaces_nothing,
  a_member_shares_a_file_by_its_path,
  a_download_shows_its_progress,
  a_download_pauses_and_goes_on,
  a_file_plays_while_it_is_downloaded,
  a_tracker_dies_on_the_way,
  activity_and_shares_tell_what_happened,
];
