import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { syncFolderSync } from '../base/files.ts';
import type { KeyRing } from '../base/keys.ts';
import type { StopBasis } from '../gate/register.ts';
import type { DayJst, Instant, PatientName } from '../model/record.ts';

export interface JournaledStop {
  readonly act: 'stop' | 'withdraw';
  readonly name: PatientName;
  readonly basis: StopBasis;
  readonly on: DayJst;
  readonly at: Instant;
}

/**
 * Every stop, outside the database: a backup of last week restored today must still know of yesterday's stop.
 *
 * One line a stop: base64 of a box under the register key. Appended and synced before the transaction that enforces
 * it, so the journal may know of a stop that the database does not, never the other way round; replaying is harmless.
 */
export class StopJournal {
  readonly #path: string;
  readonly #keys: KeyRing;

  constructor(path: string, keys: KeyRing) {
    this.#path = path;
    this.#keys = keys;
  }

  /** When it returns, the lines are on disk. */
  append(...stops: readonly JournaledStop[]): void {
    const isNew = !existsSync(this.#path);
    const lines = stops.map(
      (stop) => `${this.#keys.seal('register', 'stop-journal', JSON.stringify(stop)).toString('base64')}\n`,
    );
    const fd = openSync(this.#path, 'a+', 0o600);
    try {
      // What a full disk or a power cut left of a line would make the next one unreadable as well.
      if (!endsWhole(fd)) ftruncateSync(fd, wholeLines(readFileSync(this.#path, 'latin1')).length);
      writeFileSync(fd, lines.join(''));
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    if (isNew) syncFolderSync(dirname(this.#path));
  }

  /** Oldest first. A last line that a power cut left incomplete was never enforced nor confirmed, and is left out. */
  read(): JournaledStop[] {
    if (!existsSync(this.#path)) return [];
    return wholeLines(readFileSync(this.#path, 'latin1'))
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(this.#keys.open('register', 'stop-journal', Buffer.from(line, 'base64')).toString()));
  }
}

function endsWhole(fd: number): boolean {
  const { size } = fstatSync(fd);
  const last = Buffer.alloc(1);
  return size === 0 || (readSync(fd, last, 0, 1, size - 1) === 1 && last[0] === 0x0a);
}

function wholeLines(text: string): string {
  return text.slice(0, text.lastIndexOf('\n') + 1);
}
