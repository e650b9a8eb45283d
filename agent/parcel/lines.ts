import { createReadStream } from 'node:fs';
import { basename } from 'node:path';
import { ConnectorError } from '../model/errors.ts';
import { parcelLimits } from './limits.ts';

export interface TextLine {
  /** From 1. */
  readonly line: number;
  readonly text: string;
}

/**
 * The lines of one of a parcel's text files: UTF-8, each ended by LF, none longer than a bound.
 *
 * @throws ConnectorError PARCEL_INDEX_INVALID
 */
export async function* textLines(path: string): AsyncGenerator<TextLine> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const file = basename(path);
  let rest = Buffer.alloc(0);
  let line = 1;
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    rest = Buffer.concat([rest, chunk]);
    for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
      if (end > parcelLimits.lineBytes) throw indexInvalid({ file, line }, 'it is too long');
      yield { line, text: decode(decoder, rest.subarray(0, end), { file, line }) };
      rest = rest.subarray(end + 1);
      line++;
    }
    if (rest.length > parcelLimits.lineBytes) throw indexInvalid({ file, line }, 'it is too long');
  }
  if (rest.length > 0) throw indexInvalid({ file, line }, 'it does not end with a line feed');
}

/** A line as JSON. The parser's own message is left out on purpose: it quotes the text, and the text is a patient's. */
export function parseJson(text: string, at: { file: string; line: number }): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw indexInvalid(at, 'it is not JSON');
  }
}

export function indexInvalid({ file, line }: { file: string; line: number }, problem: string): ConnectorError {
  return new ConnectorError('PARCEL_INDEX_INVALID', { file, line, problem });
}

function decode(decoder: TextDecoder, bytes: Uint8Array, at: { file: string; line: number }): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw indexInvalid(at, 'it is not UTF-8');
  }
}
