/**
 * A process of the bench: a peer, or a sender that must not share an event loop with whoever measures. It says JSON,
 * a line for each thing it has to say.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';

export class Child {
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #ended: Promise<unknown>;

  private constructor(process: ChildProcess, lines: Interface) {
    this.#process = process;
    this.#lines = lines[Symbol.asyncIterator]();
    this.#ended = once(process, 'close');
  }

  /** `file` lies in this folder; `flags` are Node's. */
  static start(file: string, args: readonly string[], flags: readonly string[] = []): Child {
    const child = spawn(process.execPath, [...flags, join(import.meta.dirname, file), ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    return new Child(child, createInterface({ input: child.stdout }));
  }

  /** All of a child that says one thing and ends. @throws when it says nothing */
  static async run<T>(file: string, args: readonly string[], flags: readonly string[] = []): Promise<T> {
    const child = Child.start(file, args, flags);
    try {
      return await child.hear<T>();
    } finally {
      await child.close();
    }
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  /** What it says next. @throws when it ends without */
  async hear<T>(): Promise<T> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error('a process of the bench ended before it had said everything');
    return JSON.parse(value) as T;
  }

  async close(): Promise<void> {
    this.#process.kill('SIGKILL');
    await this.#ended;
  }
}
