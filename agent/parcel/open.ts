/**
 * Opens a sealed parcel so that its contents appear whole and verified, or not at all.
 *
 * age gives plaintext out while it still does not know whether the file is whole, and a parcel's own digests stand at
 * its end. So everything goes to a quarantine folder beside the target, and one rename publishes it.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { syncFolder } from '../base/files.ts';
import { ConnectorError, reasonOf } from '../model/errors.ts';
import type { ParcelStatement } from '../model/wire.ts';
import { AgeReader } from './age-reader.ts';
import { extractEntries } from './extract.ts';
import { openLimits } from './limits.ts';
import type { ParcelFile } from './manifest.ts';
import { verifyContents } from './verify.ts';

const quarantineSuffix = '.quarantine';

/** Files flushed to the disk at a time: the journal of the file system then settles many with one commit. */
const syncsAtOnce = 16;

export interface OpenOptions {
  /** The sealed file. */
  readonly source: string;
  /** From `parseIdentities`; the first that fits is used. */
  readonly identities: readonly string[];
  /** A folder that does not exist yet; its parent is made where needed. */
  readonly out: string;
  /** Verified by `readStatement`. Without it nothing says who made the parcel: age authenticates no sender. */
  readonly statement?: ParcelStatement;
  /** Default `openLimits`. */
  readonly limits?: { readonly plainBytes: number; readonly records: number };
  readonly signal?: AbortSignal;
}

export interface OpenedParcel {
  /** What parcel.json says. */
  readonly parcel: ParcelFile;
  /** Of the sealed file. */
  readonly bytes: number;
  readonly sha256: string;
  /** Of the entries, without tar's headers. */
  readonly plainBytes: number;
}

/**
 * Resolves when `out` has everything the parcel holds, flushed to the disk: the payloads named by record id (with their
 * prefix in front), and the four files of the trailer.
 *
 * @throws ConnectorError ALREADY_EXISTS, FILE_UNREADABLE, PARCEL_UNWRITABLE - nothing is known of the parcel.
 * @throws ConnectorError PARCEL_NOT_AGE, PARCEL_NOT_FOR_US, PARCEL_DAMAGED, PARCEL_COMPRESSION_INVALID,
 * PARCEL_TAR_INVALID, PARCEL_ENTRY_REFUSED, PARCEL_MANIFEST_MISMATCH, PARCEL_INDEX_INVALID, PARCEL_COUNTS_WRONG,
 * PARCEL_STATEMENT_MISMATCH, PARCEL_SUITE_UNKNOWN, PARCEL_TOO_LARGE - refused; nothing was published.
 * @throws the reason of `signal`
 */
export async function openParcel(options: OpenOptions): Promise<OpenedParcel> {
  const { source, identities, out } = options;
  if (await exists(out)) throw new ConnectorError('ALREADY_EXISTS', { path: out });
  const sealed = await AgeReader.open(source, identities);
  const quarantine = `${out}.${randomBytes(4).toString('hex')}${quarantineSuffix}`;
  try {
    if (options.statement && options.statement.bytes !== sealed.bytes) throw notTheStated('bytes');
    await mkdir(quarantine, { recursive: true, mode: 0o700 }).catch(unwritable);
    const opened = await openInto(quarantine, sealed, options);
    await publish(quarantine, out).catch(unwritable);
    return opened;
  } finally {
    await sealed.close();
    await rm(quarantine, { recursive: true, force: true });
  }
}

/**
 * Removes what a crash left unpublished beside the folders that were opened below `folder`. Only while nothing is
 * being opened there. Returns how many there were.
 */
export async function removeQuarantines(folder: string): Promise<number> {
  const names = (await readdir(folder)).filter((name) => name.endsWith(quarantineSuffix));
  for (const name of names) await rm(join(folder, name), { recursive: true, force: true });
  return names.length;
}

async function openInto(folder: string, sealed: AgeReader, options: OpenOptions): Promise<OpenedParcel> {
  const { statement, signal, limits = openLimits } = options;
  const extraction = await extractEntries({ plain: sealed.plain(), folder, limits, signal });
  const sha256 = sealed.sha256();
  if (statement && statement.sha256 !== sha256) throw notTheStated('sha256');
  const parcel = await verifyContents(folder, extraction, statement);
  signal?.throwIfAborted();
  await syncFiles(folder, [...extraction.entries.keys()]).catch(unwritable);
  const plainBytes = extraction.entries.values().reduce((total, { bytes }) => total + bytes, 0);
  return { parcel, bytes: sealed.bytes, sha256, plainBytes };
}

/** A producer that has opened a parcel says so, and then the hospital destroys its copy: files must be on the disk. */
async function syncFiles(folder: string, names: readonly string[]): Promise<void> {
  const queue = names.values();
  const worker = async () => {
    for (const name of queue) await syncFile(join(folder, name));
  };
  await Promise.all(Array.from({ length: syncsAtOnce }, worker));
}

async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

async function publish(quarantine: string, out: string): Promise<void> {
  await syncFolder(quarantine);
  await rename(quarantine, out);
  await syncFolder(dirname(out));
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return false;
    throw new ConnectorError('PARCEL_UNWRITABLE', { reason: reasonOf(cause) }, { cause });
  }
}

function notTheStated(field: string): ConnectorError {
  return new ConnectorError('PARCEL_STATEMENT_MISMATCH', { field });
}

function unwritable(cause: unknown): never {
  throw new ConnectorError('PARCEL_UNWRITABLE', { reason: reasonOf(cause) }, { cause });
}
