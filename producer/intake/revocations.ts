/**
 * Certificates that are no longer welcome. The file is looked at with every request, so a line added to it takes effect
 * at once, also on connections that are open; reading its date costs a few microseconds.
 */
import { readFileSync, statSync } from 'node:fs';
import { ConnectorError, reasonOf } from '../../agent/model/errors.ts';
import type { Report } from '../../agent/model/ports.ts';

export class Revocations {
  readonly #path: string;
  readonly #report: Report;
  #stamp = '';
  #serials: ReadonlySet<string> = new Set();

  /** @throws ConnectorError REVOCATION_UNREADABLE - the intake does not open its door on half a list. */
  constructor(path: string, report: Report) {
    this.#path = path;
    this.#report = report;
    this.#stamp = stampOf(path);
    this.#serials = readSerials(path);
  }

  has(serial: string): boolean {
    this.#reload();
    return this.#serials.has(normalized(serial));
  }

  #reload(): void {
    const stamp = stampOf(this.#path);
    if (stamp === this.#stamp) return;
    this.#stamp = stamp;
    try {
      this.#serials = readSerials(this.#path);
      this.#report({ name: 'intake.revocations-loaded', numbers: { certificates: this.#serials.size } });
    } catch (error) {
      if (!(error instanceof ConnectorError)) throw error;
      // The list read before stays in force: half a list would let in who was already shut out.
      this.#report({ name: 'intake.revocations-refused', code: error.code });
    }
  }
}

function stampOf(path: string): string {
  const stat = statSync(path, { throwIfNoEntry: false, bigint: true });
  return stat ? `${stat.mtimeNs}:${stat.size}:${stat.ino}` : 'missing';
}

function readSerials(path: string): Set<string> {
  const serials = new Set<string>();
  for (const [index, text] of readLines(path).entries()) {
    const line = text.replace(/#.*/, '').trim();
    if (line === '') continue;
    if (!/^[0-9A-Fa-f:]{2,59}$/.test(line)) throw unreadable(path, index + 1);
    serials.add(normalized(line));
  }
  return serials;
}

function readLines(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n');
  } catch (cause) {
    // The key folder has had this file since it was made: one that is gone was not emptied on purpose.
    throw new ConnectorError('REVOCATION_UNREADABLE', { path, line: reasonOf(cause) }, { cause });
  }
}

function unreadable(path: string, line: number): ConnectorError {
  return new ConnectorError('REVOCATION_UNREADABLE', { path, line });
}

/** OpenSSL prints colons and leading zeros, Node upper case, people either. */
function normalized(serial: string): string {
  return serial.replaceAll(':', '').toLowerCase().replace(/^0+/, '');
}
