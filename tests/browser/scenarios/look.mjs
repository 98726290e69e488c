// Every screen at three widths, light and dark: axe-core, no sideways scrolling, screenshots.
import { button, dialog, go, openGroup } from "../browser.mjs";
import { assertLooksRight } from "../screens.mjs";

const heading = (page, name) => page.getByRole("heading", { level: 1, name }).waitFor();

/** Opens each screen. */
const SCREENS = {
  transfers: async (page) => { await go(page, "transfers"); await heading(page, "Transfers"); },
  groups: async (page) => { await go(page, "groups"); await page.getByRole("table").waitFor(); },
  all_groups: async (page) => {
    await go(page, "groups", "all");
    await page.getByRole("table").waitFor();
  },
  find: async (page) => {
    await go(page, "groups", "find");
    await page.getByRole("searchbox").fill("s");
    await page.getByRole("table").waitFor();
  },
  files: async (page) => { await openGroup(page, "lab"); await page.getByRole("table").waitFor(); },
  members: async (page) => {
    await openGroup(page, "lab", "Members");
    await page.getByRole("table").waitFor();
  },
  invitations: async (page) => {
    await openGroup(page, "lab", "Invitations");
    await button(page, "Invite").waitFor();
  },
  manage: async (page) => { await openGroup(page, "lab", "Manage"); },
  shares: async (page) => { await go(page, "shares"); await page.getByRole("table").waitFor(); },
  rates: async (page) => { await go(page, "activity"); await page.getByRole("img").waitFor(); },
  completed: async (page) => { await go(page, "activity", "completed"); },
  notifications: async (page) => {
    await go(page, "activity", "notifications");
    await page.getByRole("list", { name: "Notifications" }).waitFor();
  },
  settings: async (page) => {
    await go(page, "settings");
    await page.getByText("this device", { exact: true }).waitFor();
  },
  dialog_file: async (page) => {
    await openGroup(page, "lab");
    await button(page, "dropped.txt").click();
    await dialog(page).waitFor();
  },
  dialog_share: async (page) => {
    await openGroup(page, "lab");
    await button(page, "Share from disk").click();
    await dialog(page).getByRole("list").waitFor();
  },
  dialog_invite: async (page) => {
    await openGroup(page, "lab", "Invitations");
    await button(page, "Invite").click();
    await button(page, "Make the link").click();
    await dialog(page).getByRole("img").waitFor();
  },
  dialog_delete: async (page) => {
    await openGroup(page, "lab", "Manage");
    await button(page, /Delete group|Leave group/).last().click();
    await dialog(page).waitFor();
  },
};

async function every_screen_is_accessible_at_every_width({ bobPage: page, screenshots }) {
  await assertLooksRight(page, SCREENS, screenshots);
}

export const scenarios = [every_screen_is_accessible_at_every_width];
