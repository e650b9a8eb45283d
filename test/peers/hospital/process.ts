/**
 * A process of the product: `node agent/main.ts …` or `node producer/main.ts …`, under the Node that runs the tests.
 * What it says is kept, so that a test can show it, and search it for what must not be in it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { systemClock } from '../../../agent/base/clock.ts';
import { root } from '../../source-files.ts';

export const mains = { agent: join(root, 'agent', 'main.ts'), producer: join(root, 'producer', 'main.ts') } as const;

/** What the installed launcher gives Node, read from it: the product is tested as it is installed. */
const launcher = readFileSync(join(root, 'installers', 'linux', 'files', 'kakehashi.sh'), 'utf8');
const nodeFlags = [...launcher.matchAll(/\/node" (--\S+) /g)].map(([, flag = '']) => flag);
if (nodeFlags.length === 0) throw new Error('the launcher gives Node no flag: this line has lost it');

/** SIGTERM drains and stops within this. */
const stopMsMax = 10_000;

export interface SpawnOptions {
  /** Put in front of the program: `['strace', '-f', …]`. */
  readonly under?: readonly string[];
  /** Added to this process's own; undefined takes one away. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** Kills it as soon as this aborts, also before it is ready. */
  readonly signal?: AbortSignal;
}

/** A ready line: `{"event":"ready", …}`. */
export interface ReadyLine {
  readonly event: 'ready';
  readonly pid?: number;
  /** The producer's. */
  readonly port?: number;
  /** The agent's, by source name. */
  readonly ports?: Readonly<Record<string, number>>;
}

export class ProductProcess {
  /** As said last: a reload may have brought other ports. */
  #ready: ReadyLine;
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  readonly #said: { stdout: string; stderr: string };

  private constructor(child: ChildProcess, ended: Promise<void>, ready: ReadyLine, said: ProductProcess['said']) {
    this.#child = child;
    this.#ended = ended;
    this.#ready = ready;
    this.#said = said;
  }

  /**
   * Resolves when it has said that it is ready.
   *
   * @throws when it ends before, with what it complained of
   */
  static async start(program: keyof typeof mains, argv: readonly string[], options: SpawnOptions = {}) {
    const [command = '', ...args] = [...(options.under ?? []), process.execPath, ...nodeFlags, mains[program], ...argv];
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...options.env },
      ...(options.cwd !== undefined && { cwd: options.cwd }),
    });
    const ended = once(child, 'close').then(() => undefined);
    options.signal?.addEventListener('abort', () => child.kill('SIGKILL'), { once: true });
    const said = { stdout: '', stderr: '' };
    child.stderr.on('data', (chunk) => {
      said.stderr += String(chunk);
    });
    let started: ProductProcess | undefined;
    const ready = await new Promise<ReadyLine>((resolve, reject) => {
      createInterface({ input: child.stdout })
        .on('line', (line) => {
          said.stdout += `${line}\n`;
          if (!line.includes('"event":"ready"')) return;
          const ready = JSON.parse(line) as ReadyLine;
          if (started) started.#ready = ready;
          else resolve(ready);
        })
        .on('close', () => reject(new Error(`${program} ended before it was ready: ${said.stdout}${said.stderr}`)));
    });
    started = new ProductProcess(child, ended, ready, said);
    return started;
  }

  /** Of the product itself, also when it runs under another program. */
  get pid(): number {
    return this.ready.pid ?? this.#child.pid ?? 0;
  }

  get ready(): ReadyLine {
    return this.#ready;
  }

  get said(): { readonly stdout: string; readonly stderr: string } {
    return this.#said;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  signal(signal: NodeJS.Signals): void {
    if (this.isRunning) process.kill(this.pid, signal);
  }

  /** Resolves with the exit code; null after a signal nobody could catch. */
  async exit(): Promise<number | null> {
    await this.#ended;
    return this.#child.exitCode;
  }

  /** Asks it to stop. Whoever is not gone by the time that was promised is killed, and that is null as well. */
  async stop(): Promise<number | null> {
    const gone = new AbortController();
    const patience = async () => {
      await systemClock.sleep(stopMsMax, gone.signal);
      if (!gone.signal.aborted) this.signal('SIGKILL');
    };
    void patience();
    this.signal('SIGTERM');
    await this.#ended;
    gone.abort();
    return this.exit();
  }

  /** As a power cut would, as far as a process can. */
  async kill(): Promise<void> {
    this.signal('SIGKILL');
    await this.#ended;
  }
}
