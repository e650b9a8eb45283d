import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ConnectorError } from '../../../agent/model/errors.ts';
import { depthMax, skipSpace, skipValue } from '../../../agent/source/fhir/json.ts';
import { scanBundle, scanResource } from '../../../agent/source/fhir/scan.ts';
import { observation, patient } from '../../peers/fhir/resources.ts';

/** Those of which nearly all JSON is made, and two that must not stand in it bare. */
const jsonCharacters = '{ } [ ] " , : \\ u 0 1 9 a e E f n r t l s + - . \n \u0001 あ'.split(' ').concat(' ');

interface Made {
  readonly page: Buffer;
  readonly resources: readonly Buffer[];
}

/** JSON of a value with its white space, indentation and escapes chosen at random. */
const written = (value: unknown) =>
  fc.tuple(fc.constantFrom('', ' ', '\t', '  '), fc.boolean(), fc.boolean()).map(([indent, isEscaped, hasReturns]) => {
    const text = JSON.stringify(value, undefined, indent);
    const ascii = isEscaped
      ? text.replaceAll(/[^\x20-\x7e\n\t]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
      : text;
    return hasReturns ? ascii.replaceAll('\n', '\r\n') : ascii;
  });

const resourceText = fc
  .record({
    id: fc.string({ minLength: 1, maxLength: 8 }),
    more: fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue({ maxDepth: 6, stringUnit: 'binary' }), {
      maxKeys: 6,
    }),
    long: fc.string({ unit: 'binary', maxLength: 400 }),
  })
  .chain(({ id, more, long }) => written({ ...more, long, id, meta: { versionId: '1' }, resourceType: 'Observation' }));

const bundle = fc
  .tuple(fc.array(resourceText, { maxLength: 5 }), fc.constantFrom('', '\ufeff'), fc.constantFrom('', ' ', '\r\n\t'))
  .map(([texts, mark, space]): Made => {
    const entries = texts.map(
      (text) => `{${space}"resource"${space}:${space}${text}${space},"search":{"mode":"match"}}`,
    );
    const head = `"resourceType":"Bundle","type":"searchset","link":[{"relation":"self","url":"a"},{"url":"b?c=\\u0064","relation":"next"}]`;
    const page = Buffer.from(`${mark}${space}{${head},${space}"entry":[${entries.join(',')}${space}]}${space}`);
    return { page, resources: texts.map((text) => Buffer.from(text)) };
  });

describe('a page', () => {
  it('is cut into exactly the bytes of its resources', () => {
    fc.assert(
      fc.property(bundle, ({ page, resources }) => {
        const { entries, next, type } = scanBundle(page);
        expect(next).toBe('b?c=d');
        expect(type).toBe('searchset');
        expect(entries.map(({ start, end }) => page.subarray(start, end))).toEqual(resources);
        for (const [index, { id, resourceType, versionId, mode }] of entries.entries()) {
          const parsed = JSON.parse(String(resources[index])) as { id: string };
          expect({ id, resourceType, versionId, mode }).toEqual({
            id: parsed.id,
            resourceType: 'Observation',
            versionId: '1',
            mode: 'match',
          });
        }
      }),
    );
  });

  it('is taken only where a JSON parser takes it too, whatever was done to its bytes, and fails only in our terms', () => {
    const mutation = fc.record({ at: fc.nat(), byte: fc.integer({ min: 0, max: 255 }), cut: fc.boolean() });
    fc.assert(
      fc.property(bundle, fc.array(mutation, { minLength: 1, maxLength: 3 }), ({ page }, mutations) => {
        let bytes = Buffer.from(page);
        for (const { at, byte, cut } of mutations) {
          if (cut) bytes = bytes.subarray(0, at % (bytes.length + 1));
          else if (bytes.length > 0) bytes[at % bytes.length] = byte;
        }
        let error: unknown;
        try {
          scanBundle(bytes);
        } catch (thrown) {
          error = thrown;
        }
        if (error) expect(error).toBeInstanceOf(ConnectorError);
        else expect(() => JSON.parse(bytes.toString().replace(/^\ufeff/, '')) as unknown).not.toThrow();
      }),
      { numRuns: 2000 },
    );
  });

  it('is judged as a parser judges it, value by value', () => {
    const text = fc.oneof(
      fc.json({ stringUnit: 'binary' }),
      fc.string({ unit: fc.constantFrom(...jsonCharacters), maxLength: 24 }),
      fc.constantFrom(
        '01',
        '-',
        '1.',
        '.5',
        '1e',
        '1e+',
        '-0',
        '0.10',
        '1E400',
        '"\\x"',
        '"\\u12g4"',
        'nul',
        '[1,]',
        '{"a":1,}',
      ),
      fc.string({ unit: 'binary', minLength: 60, maxLength: 200 }).map((long) => `"${long}"`),
      fc.string({ unit: 'binary', minLength: 60, maxLength: 200 }).map((long) => JSON.stringify(`${long}\\"`)),
    );
    fc.assert(
      fc.property(text, fc.nat(7), (json, shift) => {
        // Shifted, because words are compared at addresses that are multiples of four.
        const bytes = Buffer.from(`${' '.repeat(shift)}${json}`);
        expect(accepts(bytes)).toBe(parses(bytes.toString()));
      }),
      { numRuns: 3000 },
    );
  });

  it('keeps what parsing and writing would change', () => {
    const { bytes } = observation({ id: 'o1' });
    expect(JSON.stringify(JSON.parse(bytes.toString()))).not.toBe(bytes.toString());
    const page = Buffer.concat([
      Buffer.from('{"resourceType":"Bundle","entry":[{"resource":'),
      bytes,
      Buffer.from('}]}'),
    ]);
    const [entry] = scanBundle(page).entries;
    expect(page.subarray(entry?.start, entry?.end).equals(bytes)).toBe(true);
    expect(entry).toMatchObject({ resourceType: 'Observation', id: 'o1', versionId: '7', mode: undefined });
  });

  it('finds names that are written with escapes', () => {
    const page = Buffer.from(
      '{"\\u0072esourceType":"Bundle","entry":[{"resource":{"\\u0069d":"x","resourceType":"Patient"}}]}',
    );
    expect(scanBundle(page).entries[0]).toMatchObject({ id: 'x', resourceType: 'Patient' });
  });

  it.each([
    ['is cut off', '{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient"'],
    ['is HTML', '<!DOCTYPE html><html></html>'],
    ['is empty', ''],
    ['goes on after its end', '{"resourceType":"Bundle"}{}'],
    ['holds a resource without a type', '{"resourceType":"Bundle","entry":[{"resource":{"id":"1"}}]}'],
    ['is nested deeper than the bound', `{"resourceType":"Bundle","x":${'['.repeat(depthMax)}${']'.repeat(depthMax)}}`],
  ])('is refused when it %s', (_, text) => {
    expect(() => scanBundle(Buffer.from(text))).toThrow(expect.objectContaining({ code: 'FHIR_BAD_JSON' }));
  });

  it('has no type when it is JSON and no Bundle', () => {
    expect(scanBundle(Buffer.from('{"resourceType":"OperationOutcome","type":"searchset"}')).type).toBeUndefined();
  });

  it('is refused when it is not UTF-8', () => {
    const page = Buffer.concat([
      Buffer.from('{"resourceType":"Bundle","x":"'),
      Buffer.from([0x8d, 0xb4]),
      Buffer.from('"}'),
    ]);
    expect(() => scanBundle(page)).toThrow(expect.objectContaining({ code: 'FHIR_BAD_JSON' }));
  });

  it('is refused when one resource is larger than the bound', () => {
    const { bytes } = patient({ id: 'p1' });
    const page = Buffer.from(`{"resourceType":"Bundle","entry":[{"resource":${bytes.toString()}}]}`);
    expect(scanBundle(page, bytes.length).entries).toHaveLength(1);
    expect(() => scanBundle(page, bytes.length - 1)).toThrow(expect.objectContaining({ code: 'FHIR_PAGE_TOO_LARGE' }));
  });
});

describe('a single resource', () => {
  it('is found between white space and a byte order mark', () => {
    const { bytes } = patient({ id: 'p1' });
    const around = Buffer.concat([Buffer.from('\ufeff \r\n'), bytes, Buffer.from('\n')]);
    const { start, end, id } = scanResource(around);
    expect(around.subarray(start, end).equals(bytes)).toBe(true);
    expect(id).toBe('p1');
  });

  it('is refused when it has a second one behind it', () => {
    expect(() => scanResource(Buffer.from('{"resourceType":"Patient"} {}'))).toThrow(
      expect.objectContaining({ code: 'FHIR_BAD_JSON' }),
    );
  });
});

function accepts(bytes: Buffer): boolean {
  try {
    return skipSpace(bytes, skipValue(bytes, skipSpace(bytes, 0), 0)) === bytes.length;
  } catch (error) {
    expect(error).toBeInstanceOf(ConnectorError);
    return false;
  }
}

function parses(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
