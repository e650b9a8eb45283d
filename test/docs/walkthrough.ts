/**
 * Runs the commands of a page as a reader would, in order, so that a page cannot promise what does not work.
 *
 * Only blocks that are marked are run: `<!-- run -->` before a fenced `sh` block runs it to its end; `<!-- serve -->`
 * starts it as in a terminal of its own, waits until it says that it is ready, and ends it with SIGTERM afterwards.
 * The ports a page names are exchanged for free ones, the same everywhere.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { delimiter, join } from 'node:path';
import { root } from '../source-files.ts';

export interface Block {
  readonly kind: 'run' | 'serve';
  readonly script: string;
}

export interface Ran extends Block {
  /** What it printed on both streams; of `serve`, up to the end. */
  readonly output: string;
  readonly exitCode: number | null;
}

export function blocksOf(markdown: string): Block[] {
  const marked = /^<!-- (run|serve) -->\s*^```sh\n([\s\S]*?)^```$/gm;
  return [...markdown.matchAll(marked)].map(([, kind, script = '']) => ({
    kind: kind === 'run' ? 'run' : 'serve',
    script,
  }));
}

/**
 * Runs all blocks in `folder`. Stops at the first that fails, so the last one tells why.
 */
export async function walk(blocks: readonly Block[], folder: string): Promise<Ran[]> {
  const withPorts = await exchangePorts(blocks);
  const served: Running[] = [];
  const ran: Ran[] = [];
  try {
    for (const block of withPorts) {
      const running = new Running(block, folder);
      if (block.kind === 'serve') {
        if (await running.isReady()) {
          served.push(running);
          continue;
        }
      }
      ran.push(await running.ended());
      if (ran.at(-1)?.exitCode !== 0) break;
    }
  } finally {
    for (const running of served.toReversed()) ran.push(await running.stop());
  }
  return ran;
}

class Running {
  readonly #block: Block;
  readonly #child: ChildProcess;
  readonly #exit: Promise<unknown>;
  readonly #ready: Promise<boolean>;
  #output = '';

  constructor(block: Block, folder: string) {
    this.#block = block;
    const path = `${join(root, 'node_modules', '.bin')}${delimiter}${process.env['PATH']}`;
    // A group of its own: the signal that ends it must reach what the shell started.
    this.#child = spawn('bash', ['-euo', 'pipefail', '-c', `exec 2>&1\n${block.script}`], {
      cwd: folder,
      detached: true,
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, PATH: path },
    });
    this.#exit = once(this.#child, 'close');
    this.#ready = this.#watch();
  }

  /** False when it ended first. */
  isReady(): Promise<boolean> {
    return this.#ready;
  }

  async ended(): Promise<Ran> {
    await this.#exit;
    return { ...this.#block, output: this.#output, exitCode: this.#child.exitCode };
  }

  stop(): Promise<Ran> {
    if (this.#child.exitCode === null && this.#child.pid) process.kill(-this.#child.pid, 'SIGTERM');
    return this.ended();
  }

  async #watch(): Promise<boolean> {
    if (!this.#child.stdout) return false;
    const lines = createInterface({ input: this.#child.stdout });
    return new Promise((resolve) => {
      lines.on('line', (line) => {
        this.#output += `${line}\n`;
        if (line.includes('"event":"ready"')) resolve(true);
      });
      lines.on('close', () => resolve(false));
    });
  }
}

async function exchangePorts(blocks: readonly Block[]): Promise<Block[]> {
  const named = new Set(blocks.flatMap(({ script }) => script.match(/(?<=(127\.0\.0\.1|localhost):)[1-9]\d+/g) ?? []));
  const free = new Map<string, string>();
  for (const port of named) free.set(port, String(await freePort()));
  const exchange = (script: string) =>
    script.replaceAll(
      /(127\.0\.0\.1|localhost):(\d+)/g,
      (_, host: string, port: string) => `${host}:${free.get(port) ?? port}`,
    );
  return blocks.map((block) => ({ ...block, script: exchange(block.script) }));
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new TypeError('a TCP server has a port');
  return address.port;
}
