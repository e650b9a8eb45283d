/** Files of the key folder: written durably, secrets read only when nobody else may. */
import { mkdirSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { z } from 'zod';
import { writeDurableSync } from '../../agent/base/files.ts';
import { ConnectorError, reasonOf } from '../../agent/model/errors.ts';

export function writeAll(folder: string, files: Readonly<Record<string, string>>): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (const [file, text] of Object.entries(files)) writeDurableSync(resolve(folder, file), Buffer.from(text));
}

/** @throws ConnectorError PRODUCER_KEYS_UNUSABLE */
export function readSecret(folder: string, file: string): string {
  const text = read(folder, file);
  const mode = statSync(join(folder, file)).mode & 0o777;
  // Windows has no such bits; there the folder's access list protects the file.
  if ((mode & 0o077) !== 0 && process.platform !== 'win32') {
    throw unusable(folder, `${file} has mode ${mode.toString(8)}, not 600`);
  }
  return text;
}

/** @throws ConnectorError PRODUCER_KEYS_UNUSABLE */
export function read(folder: string, file: string): string {
  try {
    return readFileSync(join(folder, file), 'utf8');
  } catch (cause) {
    throw unusable(folder, `${file}: ${reasonOf(cause)}`, cause);
  }
}

/** @throws ConnectorError PRODUCER_KEYS_UNUSABLE */
export function parse<T>(shape: z.ZodType<T>, folder: string, file: string): T {
  try {
    return shape.parse(JSON.parse(read(folder, file)));
  } catch (cause) {
    if (cause instanceof ConnectorError) throw cause;
    throw unusable(folder, `${file} does not have the expected form`, cause);
  }
}

export function unusable(path: string, reason: string, cause?: unknown): ConnectorError {
  return new ConnectorError('PRODUCER_KEYS_UNUSABLE', { path, reason }, { cause });
}

export function json(value: object): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}
