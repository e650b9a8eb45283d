import type { Clock } from '../model/ports.ts';

/** One part of the agent, as a stop sees it. */
export interface StoppablePart {
  /** A word from the code or the configuration. */
  readonly name: string;
  /** Begins at once to end, and resolves when it has. */
  stop(): Promise<unknown>;
}

export interface Stopped {
  /** Names of the parts that had not ended in time, in the order given. They still run. */
  readonly left: readonly string[];
  /** What their ends threw: defects, of which none kept another part from ending. */
  readonly failures: readonly unknown[];
}

/** Tells every part at once that it ends, and waits for all of them together, no longer than `limitMs`. */
export async function stopParts(
  parts: readonly StoppablePart[],
  { clock, limitMs }: { clock: Clock; limitMs: number },
): Promise<Stopped> {
  const running = new Set(parts);
  const failures: unknown[] = [];
  const ends = parts.map(async (part) => {
    try {
      await part.stop();
    } catch (error) {
      failures.push(error);
    }
    running.delete(part);
  });
  const over = new AbortController();
  await Promise.race([Promise.all(ends), clock.sleep(limitMs, over.signal)]);
  over.abort();
  return { left: [...running].map(({ name }) => name), failures };
}
