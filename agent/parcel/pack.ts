/**
 * Packs records into one sealed file, in a single pass and in constant memory, apart from the index of the records.
 *
 * ```
 * image lane   payload entries, trailer  ->  tar  ->  age  ->  file
 * text lane    payload entries, trailer  ->  tar  ->  zstd -3  ->  age  ->  file
 * ```
 * Images do not get smaller (1.0x measured on what scanners compress already) and would cost a core.
 */
import { DurableFile } from '../base/files.ts';
import { ConnectorError, reasonOf } from '../model/errors.ts';
import { AgeWriter } from './age-writer.ts';
import { Compressor } from './compressor.ts';
import { ParcelTar, type TarOptions } from './parcel-tar.ts';

export type { ParcelEntry, ParcelTrailer } from './parcel-tar.ts';

export interface PackOptions extends TarOptions {
  /** Where the sealed file shall appear, whole or not at all. */
  readonly path: string;
  /** From `parseRecipients`. */
  readonly recipients: readonly string[];
}

export interface PackedParcel {
  /** Of the sealed file. */
  readonly bytes: number;
  /** Hex, of the sealed file. */
  readonly sha256: string;
  readonly counts: { readonly records: number; readonly subjects: number };
  /** Of the payloads with their prefixes. */
  readonly payloadBytes: number;
}

/**
 * Resolves when the sealed file has survived a power cut. On an error, or when `signal` aborts, nothing is left.
 *
 * @throws ConnectorError PAYLOAD_MISMATCH - a body is not what its line says.
 * @throws ConnectorError PARCEL_LINE_INVALID - a line is not as the format says, and would be refused.
 * @throws ConnectorError PARCEL_OVERFULL, RECORD_TOO_LARGE - more than a parcel may hold; the closing rule is wrong.
 * @throws ConnectorError PARCEL_UNWRITABLE - the disk refused; nothing was announced to anyone.
 * @throws the reason of `signal`
 */
export async function packParcel(options: PackOptions): Promise<PackedParcel> {
  const file = await DurableFile.create(options.path).catch(unwritable);
  try {
    const age = await AgeWriter.start({ write: (block) => file.write(block).catch(unwritable) }, options.recipients);
    try {
      const tar = new ParcelTar(options);
      await (options.lane === 'text' ? compressed(tar, age) : tar.writeTo(age));
      const sealed = await age.end();
      options.signal?.throwIfAborted();
      await file.commit().catch(unwritable);
      return { ...sealed, counts: tar.counts, payloadBytes: tar.payloadBytes };
    } finally {
      await age.close();
    }
  } catch (error) {
    await file.abandon();
    throw error;
  }
}

async function compressed(tar: ParcelTar, age: AgeWriter): Promise<void> {
  const compressor = new Compressor(age);
  try {
    await tar.writeTo(compressor);
    await compressor.end();
  } finally {
    compressor.close();
  }
}

function unwritable(cause: unknown): never {
  throw new ConnectorError('PARCEL_UNWRITABLE', { reason: reasonOf(cause) }, { cause });
}
