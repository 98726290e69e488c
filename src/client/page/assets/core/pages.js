// A long listing of which only the pages near the visible rows are kept.
//
// The client pages by key: page n + 1 needs the cursor that page n ends with. A page far from the
// visible rows drops its entries and keeps its cursor and length, so that it can be read again.
//
// **Bound:** `KEPT` pages of `PAGE` entries, and a cursor for every page that was seen.
const FIRST = 100;
const PAGE = 500;
const KEPT = 12;

export class Pages {
  /** `load(after, limit, signal)` returns one page; `changed()` is called after every change. */
  constructor(load, changed) {
    this.load = load;
    this.changed = changed;
    this.pages = [{ after: null, length: 0, entries: null, stale: true, busy: false }];
    this.isWhole = false;
    this.error = null;
    this.abort = new AbortController();
    this.visible = [0, 0];
  }

  /** The number of rows that are known. */
  get count() {
    return this.pages.reduce((sum, page) => sum + page.length, 0);
  }

  get isLoading() {
    return this.pages.some((page) => page.busy);
  }

  /** The entry of a row, or `undefined` if it is not here. */
  row(index) {
    let begin = 0;
    for (const page of this.pages) {
      if (index < begin + page.length) return page.entries?.[index - begin];
      begin += page.length;
    }
    return undefined;
  }

  /** The first entry that is here and fits, or `undefined`. */
  find(fits) {
    for (const { entries } of this.pages) {
      const found = entries?.find(fits);
      if (found) return found;
    }
    return undefined;
  }

  /** Loads the pages of rows `first` to `last`, and drops those far away. */
  need(first, last) {
    this.visible = [first, last];
    let begin = 0;
    const near = [];
    this.pages.forEach((page, index) => {
      // An empty page at the end is wanted wherever the rows are.
      const isLast = index === this.pages.length - 1;
      const end = isLast && page.length === 0 ? Infinity : begin + page.length;
      if (begin <= last && end > first) near.push(index);
      begin += page.length;
    });
    near.forEach((index) => this.#read(index));
    if (near.length === 0) return;
    const middle = (near[0] + near.at(-1)) / 2;
    this.pages.forEach((page, index) => {
      if (Math.abs(index - middle) > KEPT / 2) page.entries = null;
    });
  }

  /** Reads the pages again that are visible now, and the others when they become visible. */
  refresh() {
    this.error = null;
    for (const page of this.pages) page.stale = true;
    this.need(...this.visible);
    this.changed();
  }

  stop() {
    this.abort.abort();
  }

  async #read(index) {
    const page = this.pages[index];
    if (page.busy || this.error || (page.entries && !page.stale)) return;
    page.busy = true;
    page.stale = false;
    try {
      const limit = index === 0 ? FIRST : PAGE;
      const got = await this.load(page.after, limit, this.abort.signal);
      page.entries = got.entries;
      page.length = got.entries.length;
      this.#link(index, got);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.error = error.message;
    } finally {
      page.busy = false;
    }
    this.need(...this.visible);
    this.changed();
  }

  /** Adds, corrects or removes the pages behind one that was read. */
  #link(index, { more, next }) {
    const following = this.pages[index + 1];
    if (!more) {
      this.pages.length = index + 1;
      this.isWhole = true;
    } else if (!following) {
      this.pages.push({ after: next, length: 0, entries: null, stale: true, busy: false });
      this.isWhole = false;
    } else if (following.after !== next) {
      following.after = next;
      following.stale = true;
    }
  }
}
