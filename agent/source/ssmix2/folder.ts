/**
 * Reading the hospital's share, and nothing else: folders are listed, files opened read-only. Nothing is locked,
 * moved, written or deleted there.
 *
 * Paths are Latin-1 text, one char a byte, on purpose: a junk name need not be UTF-8, and decoded it could not be
 * opened any more.
 */
import { constants, type Dirent, opendirSync, type Stats, statSync } from 'node:fs';
import { open, opendir, stat } from 'node:fs/promises';
import { ConnectorError, reasonOf } from '../../model/errors.ts';

export interface Listing {
  /** Names in byte order, so that a scan can go on where it stopped. */
  readonly folders: readonly string[];
  readonly files: readonly string[];
}

/**
 * Names held at a time: those of one folder. A thousand folders lie at each of the upper levels, a few thousand care
 * dates under a patient; a folder with more than this is not of this storage.
 */
const entriesMax = 100_000;

/** Entries fetched in one call: over SMB each call is a round trip. */
const entriesPerRead = 512;

export function toPath(text: string): string {
  return Buffer.from(text).toString('latin1');
}

/** The path as the system takes it. */
function toSystem(path: string): Buffer {
  return Buffer.from(path, 'latin1');
}

/** @throws what the system says, or ConnectorError SSMIX2_FOLDER_UNREADABLE beyond `max` entries. */
export async function listFolder(path: string, max = entriesMax): Promise<Listing> {
  const names = new Names(max);
  for await (const entry of await opendir(toSystem(path), listing)) names.add(entry);
  return names.sorted();
}

/** The same for a thread that may block. */
export function listFolderSync(path: string, max = entriesMax): Listing {
  const names = new Names(max);
  const folder = opendirSync(toSystem(path), listing);
  try {
    for (let entry = folder.readSync(); entry; entry = folder.readSync()) names.add(entry);
    return names.sorted();
  } finally {
    folder.closeSync();
  }
}

const listing = { encoding: 'latin1', bufferSize: entriesPerRead } as const;

class Names {
  readonly #max: number;
  readonly #folders: string[] = [];
  readonly #files: string[] = [];

  constructor(max: number) {
    this.#max = max;
  }

  add(entry: Dirent): void {
    if (entry.isDirectory()) this.#folders.push(entry.name);
    else if (entry.isFile()) this.#files.push(entry.name);
    if (this.#folders.length + this.#files.length > this.#max) {
      throw new ConnectorError('SSMIX2_FOLDER_UNREADABLE', { reason: `more than ${this.#max} entries` });
    }
  }

  sorted(): Listing {
    return { folders: this.#folders.toSorted(), files: this.#files.toSorted() };
  }
}

/** A folder's times, and the later of them: see `catalogue.ts` for what they prove. */
export interface Signature {
  readonly text: string;
  readonly changedAt: number;
}

export async function signatureOf(path: string): Promise<Signature> {
  return signature(await stat(toSystem(path)));
}

/** The same for a thread that may block. */
export function signatureOfSync(path: string): Signature {
  return signature(statSync(toSystem(path)));
}

function signature({ mtimeMs, ctimeMs }: Stats): Signature {
  return { text: `${mtimeMs}:${ctimeMs}`, changedAt: Math.max(mtimeMs, ctimeMs) };
}

export interface FileState {
  readonly bytes: number;
  readonly mtimeMs: number;
  /** Both in one text, to be compared. */
  readonly text: string;
}

export async function stateOf(path: string): Promise<FileState> {
  return fileState(await stat(toSystem(path)));
}

function fileState({ size, mtimeMs }: Stats): FileState {
  return { bytes: size, mtimeMs, text: `${size}:${mtimeMs}` };
}

/** Undefined when the file changed while it was read, or since it was looked at. */
export async function readWhole(path: string, expected: FileState): Promise<Buffer | undefined> {
  const file = await open(toSystem(path), constants.O_RDONLY);
  try {
    if (fileState(await file.stat()).text !== expected.text) return undefined;
    const bytes = Buffer.allocUnsafe(expected.bytes);
    let length = 0;
    while (length < bytes.length) {
      const { bytesRead } = await file.read(bytes, length, bytes.length - length, length);
      if (bytesRead === 0) return undefined;
      length += bytesRead;
    }
    return fileState(await file.stat()).text === expected.text ? bytes : undefined;
  } finally {
    await file.close();
  }
}

/** It was there when its folder was listed: renamed since, or removed. */
export function isGone(error: unknown): boolean {
  return reasonOf(error) === 'ENOENT';
}
