/** The real `node producer/main.ts`, as a process of its own. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { z } from 'zod';

const main = join(import.meta.dirname, '../../producer/main.ts');

export interface Ran {
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
}

const failedShape = z.object({ code: z.number(), stdout: z.string(), stderr: z.string() });

/** Runs one verb to its end. */
export async function producer(...args: readonly string[]): Promise<Ran> {
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [main, ...args]);
    return { exit: 0, stdout, stderr };
  } catch (error) {
    const { code, stdout, stderr } = failedShape.parse(error);
    return { exit: code, stdout, stderr };
  }
}

export class ServeProcess {
  readonly #child: ChildProcess;
  readonly port: number;

  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.port = port;
  }

  /** Resolves when it has said that it is ready. */
  static async start(options: { keys: string; data: string; args?: readonly string[] }): Promise<ServeProcess> {
    const fixed = ['serve', '--dir', options.keys, '--data', options.data, '--listen', '127.0.0.1:0', '--json'];
    const args = [main, ...fixed, '--reserve', '0', ...(options.args ?? [])];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let complaints = '';
    child.stderr.on('data', (chunk) => {
      complaints += String(chunk);
    });
    for await (const line of createInterface({ input: child.stdout })) {
      const ready = z.object({ event: z.literal('ready'), port: z.int() }).parse(JSON.parse(line));
      return new ServeProcess(child, ready.port);
    }
    throw new Error(`the intake ended before it was ready: ${complaints}`);
  }

  /** As a power cut would, as far as a process can. */
  async kill(): Promise<void> {
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }

  /** Resolves with the exit code. */
  async terminate(): Promise<number | null> {
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    const [code] = z.tuple([z.number().nullable(), z.unknown()]).parse(await exited);
    return code;
  }
}
