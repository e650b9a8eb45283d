/**
 * From sealed parcels to a folder a producer can use, whole or not at all: everything happens in a folder beside the
 * target, which one rename publishes.
 */
import { existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { syncFolder } from '../../agent/base/files.ts';
import { ConnectorError } from '../../agent/model/errors.ts';
import type { ParcelStatement } from '../../agent/model/wire.ts';
import { type OpenedParcel, openParcel } from '../../agent/parcel/index.ts';
import { type ContentIndex, Contents, type RawParcel } from './contents.ts';
import type { Retracted } from './retracted.ts';

export interface UnpackOptions {
  readonly sources: readonly { readonly path: string; readonly statement?: ParcelStatement }[];
  readonly identities: readonly string[];
  /** Must not exist. */
  readonly out: string;
  readonly retracted: Retracted;
  readonly signal?: AbortSignal;
}

export interface Unpacked {
  readonly opened: readonly OpenedParcel[];
  readonly index: ContentIndex;
}

/** Ends the name of a folder that is still being made. */
export const openingSuffix = '.opening';

/** @throws ConnectorError ALREADY_EXISTS, and whatever `openParcel` throws */
export async function unpack(options: UnpackOptions): Promise<Unpacked> {
  const { out, retracted } = options;
  if (existsSync(out)) throw new ConnectorError('ALREADY_EXISTS', { path: out });
  const staging = `${out}${openingSuffix}`;
  await rm(staging, { recursive: true, force: true });
  try {
    const arranged = join(staging, 'arranged');
    await mkdir(arranged, { recursive: true, mode: 0o700 });
    const { raws, opened } = await openAll(options, staging);
    const index = await new Contents(arranged, retracted).arrange(raws);
    await rename(arranged, out);
    await syncFolder(dirname(out));
    return { opened, index };
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

async function openAll(
  { sources, identities, signal }: UnpackOptions,
  staging: string,
): Promise<{ raws: RawParcel[]; opened: OpenedParcel[] }> {
  const raws: RawParcel[] = [];
  const opened: OpenedParcel[] = [];
  for (const [index, { path, statement }] of sources.entries()) {
    const folder = join(staging, String(index));
    const parcel = await openParcel({
      source: path,
      identities,
      out: folder,
      ...(statement ? { statement } : {}),
      ...(signal ? { signal } : {}),
    });
    opened.push(parcel);
    raws.push({ folder, parcel: parcel.parcel, sha256: parcel.sha256 });
  }
  return { opened, raws };
}
