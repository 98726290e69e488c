// Starts real trackers and clients, each in a directory of its own, on free ports of 127.0.0.1.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { get } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { until } from "./until.mjs";

const HOST = "127.0.0.1";

export async function freePort() {
  const server = createServer().listen(0, HOST);
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Programs end with this one, also if a signal ends it. */
const running = new Set();
process.on("exit", () => running.forEach((program) => program.kill("SIGKILL")));
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => process.exit(1));

/** A program that runs. Its output is kept for the message of a failure. */
class Program {
  constructor(path, words, home) {
    this.lines = [];
    const env = { ...process.env, HOME: home, XDG_DATA_HOME: join(home, "share") };
    this.process = spawn(path, words, { env, stdio: ["pipe", "pipe", "pipe"] });
    this.ended = once(this.process, "exit");
    running.add(this.process);
    this.process.on("exit", () => running.delete(this.process));
    this.read = Promise.all([this.process.stdout, this.process.stderr].map((stream) => {
      const reader = createInterface({ input: stream }).on("line", (line) => {
        this.lines.push(line);
        if (this.lines.length > 500) this.lines.shift();
      });
      return once(reader, "close");
    }));
  }

  get hasEnded() {
    return this.process.exitCode !== null || this.process.signalCode !== null;
  }

  /** Waits for a line of output. */
  async line(pattern) {
    const found = () => this.lines.find((line) => pattern.test(line));
    await until(`a line like ${pattern}`, () => {
      if (!found() && this.hasEnded) throw new Error(`it ended: ${this.lines.join("\n")}`);
      return found();
    });
    return found();
  }

  async stop(signal = "SIGTERM") {
    if (!this.hasEnded) {
      this.process.kill(signal);
      await this.ended;
    }
  }
}

/** A program at a terminal. */
class Terminal extends Program {
  constructor(command, home) {
    super("script", ["-qefc", command, "/dev/null"], home);
    this.screen = "";
    this.seen = 0;
    this.process.stdout.on("data", (bytes) => {
      this.screen += bytes;
    });
  }

  /** Waits for text behind what was waited for before, and returns what matched. */
  async shows(pattern) {
    const found = await until(`the terminal to show ${pattern}`, () => {
      if (this.hasEnded) throw new Error(`it ended: ${this.screen}`);
      return pattern.exec(this.screen.slice(this.seen));
    });
    this.seen += found.index + found[0].length;
    return found[0];
  }

  type(line) {
    this.process.stdin.write(`${line}\r`);
  }
}

/** The state of a client, from its control socket. */
function snapshot(socketPath) {
  return new Promise((resolve, reject) => {
    const path = "/api/v1/snapshot";
    const asked = get({ socketPath, path, headers: { host: "localhost" } }, async (answer) => {
      try {
        resolve(JSON.parse((await answer.toArray()).join("")));
      } catch (error) {
        reject(error);
      }
    });
    asked.on("error", reject);
  });
}

/** One client with `--service` and a page. */
class Client {
  constructor(network, name, port, words) {
    this.network = network;
    this.name = name;
    this.home = join(network.home, name);
    this.data = join(this.home, "data");
    // The page comes back at the same place after a restart.
    this.page = `${HOST}:${port}`;
    this.words = words;
  }

  /** A directory of this client's user. */
  directory(name) {
    return join(this.home, name);
  }

  async start() {
    await mkdir(this.directory("downloads"), { recursive: true });
    await mkdir(this.directory("inbox"), { recursive: true });
    const words = [`${HOST}:0`, this.network.info, "--data-dir", this.data, "--service",
      "--page", this.page, ...this.words];
    this.program = new Program(this.network.binary("client"), words, this.home);
    const socket = join(this.data, "control.sock");
    await until("the page", async () => {
      if (this.program.hasEnded) throw new Error(this.program.lines.join("\n"));
      return (await snapshot(socket).catch(() => null))?.page;
    });
    return this;
  }

  /** The link that the command `page` prints. */
  async link() {
    const link = /http:\/\/\S+#code=\S+/;
    const words = ["--data-dir", this.data, "-c", "page"];
    const prompt = new Program(this.network.binary("client"), words, this.home);
    prompt.process.stdin.end();
    const line = await prompt.line(link);
    await prompt.ended;
    return link.exec(line)[0];
  }

  /** Carries out a command of the running client, at a prompt of its own. */
  async command(line) {
    const words = ["--data-dir", this.data, "-c", line];
    const prompt = new Program(this.network.binary("client"), words, this.home);
    prompt.process.stdin.end();
    const [status] = await prompt.ended;
    if (status !== 0) throw new Error(`${line}: ${prompt.lines.join("\n")}`);
  }

  stop(signal) {
    return this.program.stop(signal);
  }
}

/** A network of trackers and clients. */
export class Network {
  static async start(binaries, trackers = 2) {
    const network = new Network();
    network.binaries = binaries;
    network.home = await mkdtemp(join(tmpdir(), "posse-browser-"));
    network.info = join(network.home, "tracker_info.txt");
    network.clients = [];
    network.terminals = [];
    network.trackerPages = [];
    const ports = [];
    for (let number = 0; number < trackers; number += 1) {
      ports.push(await freePort());
      network.trackerPages.push(`${HOST}:${await freePort()}`);
    }
    await writeFile(network.info, ports.map((port) => `${HOST}:${port}\n`).join(""));
    network.trackers = [];
    for (let number = 1; number <= trackers; number += 1) await network.startTracker(number);
    return network;
  }

  binary(name) {
    return join(this.binaries, name);
  }

  trackerData(number) {
    return join(this.home, `tracker${number}`);
  }

  async startTracker(number) {
    const page = this.trackerPages[number - 1];
    const words = [this.info, String(number), "--data-dir", this.trackerData(number),
      "--network-key", join(this.home, "network.key"), "--page", page];
    const tracker = new Program(this.binary("tracker"), words, this.home);
    this.trackers[number - 1] = tracker;
    await tracker.line(new RegExp(`^page http://${page}/`));
  }

  /** The link to a tracker's page, as its operator gets it. */
  async operatorLink(number) {
    const words = ["admin", "--data-dir", this.trackerData(number), "page"];
    const { lines } = await this.run("tracker", words);
    return lines.map((line) => /http:\/\/\S+#code=\S+/.exec(line)?.[0]).find(Boolean);
  }

  /** Runs commands with a client of their own, which then ends. */
  prompt(name, ...commands) {
    const words = [`${HOST}:0`, this.info, "--data-dir", join(this.home, name, "data"), "--page",
      "off", ...commands.flatMap((command) => ["-c", command])];
    return this.run("client", words);
  }

  /** Runs a client at a terminal, which util-linux's `script` makes, with an empty home. */
  async newcomer(name, ...words) {
    const home = join(this.home, name);
    await mkdir(home, { recursive: true });
    const command = [this.binary("client"), ...words].map((word) => `'${word}'`).join(" ");
    const terminal = new Terminal(`cd '${home}' && exec ${command}`, home);
    this.terminals.push(terminal);
    return terminal;
  }

  /** Runs a program to its end. */
  async run(name, words) {
    const program = new Program(this.binary(name), words, this.home);
    program.process.stdin.end();
    const [status] = await program.ended;
    await program.read;
    return { status, lines: program.lines };
  }

  async client(name, words = []) {
    const client = new Client(this, name, await freePort(), words);
    this.clients.push(client);
    return client.start();
  }

  async stop() {
    const programs = [...this.clients.map((client) => client.program), ...this.trackers,
      ...this.terminals];
    await Promise.all(programs.map((program) => program?.stop("SIGKILL")));
    await rm(this.home, { recursive: true, force: true });
  }
}
