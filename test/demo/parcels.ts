/**
 * Opens parcels with what any producer has at hand: age, zstd, tar and sha256sum, and nothing of ours. Each is opened
 * once; the payloads are then digested again, behind the prefix their line names.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import type { Arrived } from './accounting.ts';

const run = promisify(execFile);

/** The first four bytes of a zstd frame in little endian order, RFC 8878 section 3.1.1: what tells the lanes apart. */
const script = `
set -euo pipefail
unpack() { if [ "$(age -d -i "$KEY" "$PARCEL" 2>/dev/null | head -c 4 | od -An -tx1 || true)" = ' 28 b5 2f fd' ]; then zstd -d -q; else cat; fi; }
age -d -i "$KEY" "$PARCEL" | unpack | tar x
sha256sum --strict --quiet -c manifest-sha256.txt
`;

export interface OpenedParcel {
  readonly parcelId: string;
  readonly folder: string;
  readonly records: readonly OpenedRecord[];
}

export interface OpenedRecord extends Arrived {
  readonly recordId: string;
  readonly category: string;
  readonly patientId?: string;
  readonly bytes: number;
}

/** A line of records.ndjson, as far as it is used here (docs/parcel-format.md, section 6). */
interface Line {
  readonly recordId: string;
  readonly source: string;
  readonly category: string;
  readonly patientId?: string;
  readonly prefixBytes?: number;
}

export class ParcelOpener {
  readonly #parcels: string;
  readonly #key: string;
  readonly #out: string;
  readonly #opened = new Map<string, OpenedParcel>();

  constructor(options: { parcels: string; key: string; out: string }) {
    this.#parcels = options.parcels;
    this.#key = options.key;
    this.#out = options.out;
  }

  /**
   * Opens what has come since the last call, and returns it.
   *
   * @throws when a tool does, with what it complained of
   */
  async openNew(): Promise<OpenedParcel[]> {
    const names = (await readdir(this.#parcels)).filter((name) => name.endsWith('.age')).toSorted();
    const opened: OpenedParcel[] = [];
    for (const name of names.filter((each) => !this.#opened.has(each))) {
      const parcel = await this.#open(name);
      this.#opened.set(name, parcel);
      opened.push(parcel);
    }
    return opened;
  }

  get all(): readonly OpenedParcel[] {
    return [...this.#opened.values()];
  }

  async #open(name: string): Promise<OpenedParcel> {
    const parcelId = basename(name, '.age');
    const folder = join(this.#out, parcelId);
    await mkdir(folder, { recursive: true });
    const env = { ...process.env, KEY: this.#key, PARCEL: join(this.#parcels, name) };
    await run('bash', ['-c', script], { cwd: folder, env });
    const lines = (await readFile(join(folder, 'records.ndjson'), 'utf8')).split('\n').filter(Boolean);
    const records: OpenedRecord[] = [];
    for (const line of lines) records.push(await digestOf(folder, JSON.parse(line) as Line));
    return { parcelId, folder, records };
  }
}

async function digestOf(folder: string, line: Line): Promise<OpenedRecord> {
  const { prefixBytes = 0, ...rest } = line;
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of createReadStream(join(folder, line.recordId), { start: prefixBytes })) {
    hash.update(chunk as Buffer);
    bytes += (chunk as Buffer).length;
  }
  return { ...rest, bytes, sha256: hash.digest('hex') };
}
