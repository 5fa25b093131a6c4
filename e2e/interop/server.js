// A real server with a new data folder, on a port that stays over restarts. It needs no engine for what is called here.
import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const binary = process.env.RYOKAN_BINARY;
if (!binary) throw new Error('RYOKAN_BINARY must name the server: use scripts/interop');

const freePort = () =>
  new Promise((resolve) => {
    const socket = createServer().listen(0, '127.0.0.1', () => {
      const { port } = socket.address();
      socket.close(() => resolve(port));
    });
  });

export class Server {
  static async start(environment = {}) {
    const server = new Server();
    server.data = mkdtempSync(join(tmpdir(), 'ryokan-interop.'));
    server.port = await freePort();
    server.url = `http://127.0.0.1:${server.port}`;
    server.environment = environment;
    server.log = '';
    await server.run();
    server.token = JSON.parse(readFileSync(join(server.data, 'cli.json'), 'utf8')).token;
    return server;
  }

  async run() {
    const { PATH, HOME } = process.env;
    this.process = spawn(binary, ['server', '--data-dir', this.data, '--listen', `127.0.0.1:${this.port}`], {
      env: { PATH, HOME, RYOKAN_ENGINE_SOCKET: `unix://${this.data}/no-engine.sock`, ...this.environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.process.stdout, this.process.stderr]) stream.on('data', (text) => (this.log += text));
    this.ended = new Promise((resolve) => this.process.once('exit', resolve));
    for (let tries = 0; tries < 300; tries += 1) {
      if (this.process.exitCode !== null) break;
      const answer = await fetch(`${this.url}/healthz`).catch(() => null);
      if (answer?.ok) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`the server did not start:\n${this.log}`);
  }

  async halt() {
    this.process.kill('SIGTERM');
    await this.ended;
  }

  async restart() {
    await this.halt();
    await this.run();
  }

  async remove() {
    await this.halt();
    rmSync(this.data, { recursive: true, force: true });
  }

  // The server's side of things, by a token.
  async call(method, path, body, token = this.token) {
    const answer = await fetch(this.url + path, {
      method,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    return { status: answer.status, body: text ? JSON.parse(text) : null };
  }

  // The command line, as the operator.
  async command(...words) {
    const { PATH, HOME } = process.env;
    const env = { PATH, HOME, RYOKAN_URL: this.url, RYOKAN_TOKEN: this.token };
    return (await promisify(execFile)(binary, words, { env, timeout: 20_000 })).stdout;
  }

  async get(path, token) {
    const { status, body } = await this.call('GET', path, undefined, token);
    if (status !== 200) throw new Error(`GET ${path}: ${status} ${JSON.stringify(body)}`);
    return body;
  }
}

// A hang is how a wrong signature shows, so that nothing waits for longer than this.
export const within = (promise, what, seconds = 15) => {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: no answer after ${seconds} s`)), seconds * 1000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};
