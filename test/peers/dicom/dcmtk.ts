/** DCMTK's programs as peers: each runs to its end, or serves until it is stopped. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { portOf } from '../producer/port.ts';
import { type Instance, toFile } from './dataset.ts';

export function newFolder(prefix: string): string {
  return mkdtempSync(join(tmpdir(), `kakehashi-${prefix}-`));
}

/** Writes each as a file and returns the folder. */
export function writeInstances(instances: readonly Instance[]): string {
  const folder = newFolder('instances');
  for (const [index, each] of instances.entries()) writeFileSync(join(folder, `${index}.dcm`), toFile(each));
  return folder;
}

export type Environment = Readonly<Record<string, string>>;

/** DCMTK and Orthanc, which is built on it, leave Nagle's algorithm on and wait 50 ms for each other; not with this. */
export const withoutDelay: Environment = { TCP_NODELAY: '1' };

/** The largest P-DATA-TF that DCMTK's programs can be told to take, and what ours announces. */
export const pduBytesMax = 131_072;

/** Exit code and what it said of a program of DCMTK. */
export function run(
  program: string,
  args: readonly string[],
  env: Environment = {},
  cwd = '.',
): Promise<{ code: number; said: string }> {
  return new Promise((resolve) => {
    execFile(program, args, { env: { ...process.env, ...env }, cwd }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code ?? -1) : 0, said: stdout + stderr });
    });
  });
}

/** A port nobody has at this moment, for programs that cannot be given 0. */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const port = portOf(server);
  server.close();
  await once(server, 'close');
  return port;
}

/** Resolves when something accepts connections there, as long as the process lives. */
export async function whenOpen(port: number, process: ChildProcess): Promise<void> {
  while (process.exitCode === null) {
    const socket = connect({ port, host: '127.0.0.1' });
    const isOpen = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    });
    socket.destroy();
    if (isOpen) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`${process.spawnfile} ended before it listened`);
}

export async function endProcess(process: ChildProcess): Promise<void> {
  if (process.exitCode !== null || process.signalCode !== null) return;
  const ended = once(process, 'exit');
  process.kill('SIGKILL');
  await ended;
}

/** `storescp +B`, which stores a data set bit by bit as it came: the oracle of what a sender put on the wire. */
export class Storescp {
  readonly port: number;
  readonly #process: ChildProcess;
  readonly #folder: string;

  private constructor(port: number, process: ChildProcess, folder: string) {
    this.port = port;
    this.#process = process;
    this.#folder = folder;
  }

  static async start(env: Environment = {}): Promise<Storescp> {
    const [port, folder] = [await freePort(), newFolder('storescp')];
    const args = ['+B', '+xa', '-pdu', String(pduBytesMax), '-od', folder, String(port)];
    const child = spawn('storescp', args, { stdio: 'ignore', env: { ...process.env, ...env } });
    await whenOpen(port, child);
    return new Storescp(port, child, folder);
  }

  /** The files it wrote, in no order. */
  files(): Buffer[] {
    return readdirSync(this.#folder).map((name) => readFileSync(join(this.#folder, name)));
  }

  async close(): Promise<void> {
    await endProcess(this.#process);
    rmSync(this.#folder, { recursive: true });
  }
}
