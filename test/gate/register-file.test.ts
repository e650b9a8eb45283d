import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { startOfDayJst } from '../../agent/base/clock.ts';
import { type KnownNotices, parseRegisterFile, type RegisterFile } from '../../agent/gate/register-file.ts';
import { ConnectorError } from '../../agent/model/errors.ts';

const header = 'patient_id,basis,notice,notified_on,stopped_on,as_of';
const now = Date.parse('2026-11-23T10:00:00+09:00');
const notices: KnownNotices = new Map([
  ['v1', 'article-57'],
  ['v52', 'article-52'],
]);

function parse(...lines: readonly string[]): RegisterFile {
  return parseRegisterFile(Buffer.from([header, ...lines, ''].join('\n')), notices, now);
}

function codeOf(work: () => unknown): string {
  try {
    work();
    return 'no error';
  } catch (error) {
    return error instanceof ConnectorError ? error.code : String(error);
  }
}

describe('a register file', () => {
  it('tells who was notified of what and who has stopped', () => {
    const file = parse(
      '0001,article-57,v1,2026-10-01,,2026-11-22',
      '0002,article-57,v1,2026-10-01,2026-11-01,2026-11-22',
    );
    expect(file.rows).toEqual([
      { line: 2, patientId: '0001', notified: { notice: 'v1', on: '2026-10-01' } },
      {
        line: 3,
        patientId: '0002',
        notified: { notice: 'v1', on: '2026-10-01' },
        stopped: { basis: 'article-57', on: '2026-11-01' },
      },
    ]);
    expect(file).toMatchObject({ rejected: [], hasUnreadableStop: false, isNoChange: false });
  });

  it('speaks for the earliest day any of its rows speaks for', () => {
    const file = parse('1,article-57,v1,2026-10-01,,2026-11-22', '2,article-57,v1,2026-10-01,,2026-11-20');
    expect(file.asOf).toBe(startOfDayJst('2026-11-20'));
  });

  it('takes an instant with its offset for as_of', () => {
    expect(parse('1,article-57,v1,2026-10-01,,2026-11-22T21:30:00+09:00').asOf).toBe(
      Date.parse('2026-11-22T12:30:00Z'),
    );
  });

  it('takes a stop without a basis for a stop on all of them', () => {
    expect(parse('1,,,,2026-11-01,2026-11-22').rows[0]?.stopped).toEqual({ basis: 'all', on: '2026-11-01' });
  });

  it.each([
    ['COLUMNS', '1,article-57,v1,2026-10-01,2026-11-22'],
    ['PATIENT_ID', ',article-57,v1,2026-10-01,,2026-11-22'],
    ['PATIENT_ID', `${'9'.repeat(65)},article-57,v1,2026-10-01,,2026-11-22`],
    ['BASIS', '1,article-58,v1,2026-10-01,,2026-11-22'],
    ['BASIS', '1,all,v1,2026-10-01,,2026-11-22'],
    ['BASIS', '1,,v1,2026-10-01,,2026-11-22'],
    ['NOTICE_UNKNOWN', '1,article-57,v9,2026-10-01,,2026-11-22'],
    ['NOTICE_BASIS', '1,article-57,v52,2026-10-01,,2026-11-22'],
    ['NOTIFIED_ON', '1,article-57,v1,2026-02-30,,2026-11-22'],
    ['NOTIFIED_ON', '1,article-57,v1,2026/10/01,,2026-11-22'],
    ['AS_OF', '1,article-57,v1,2026-10-01,,'],
    ['AS_OF', '1,article-57,v1,2026-10-01,,2026-11-30'],
    ['AS_OF', '1,article-57,v1,2026-10-01,,2026-11-22T21:30:00'],
    ['NOTHING', '1,article-57,v1,,,2026-11-22'],
  ])('rejects a row as %s and takes the others: %s', (fault, line) => {
    const file = parse('7,article-57,v1,2026-10-01,,2026-11-22', line);
    expect(file.rejected).toEqual([{ line: 3, fault }]);
    expect(file.rows.map(({ patientId }) => patientId)).toEqual(['7']);
  });

  it.each([
    ['the day is none', '1,article-57,v1,2026-10-01,2026-13-01,2026-11-22'],
    ['the day is in words', '1,,,,昨日,2026-11-22'],
    ['the basis is unknown', '1,article-58,,,2026-11-01,2026-11-22'],
    ['the patient is missing', ',,,,2026-11-01,2026-11-22'],
    ['the date of the list is missing', '1,,,,2026-11-01,'],
    ['a column is missing, and nobody can tell which', '1,article-57,v1,2026-10-01,2026-11-22'],
    ['the notice beside it is unknown', '1,article-57,v9,2026-10-01,2026-11-01,2026-11-22'],
  ])('says that a stop may be hidden in it when %s', (_, line) => {
    expect(parse('7,article-57,v1,2026-10-01,,2026-11-22', line).hasUnreadableStop).toBe(true);
  });

  it('does not cry stop over an unreadable notice', () => {
    const file = parse('7,article-57,v1,2026-10-01,,2026-11-22', '1,article-57,v9,2026-10-01,,2026-11-22');
    expect(file.hasUnreadableStop).toBe(false);
  });

  it('takes an id of 64 characters', () => {
    expect(parse(`${'9'.repeat(64)},article-57,v1,2026-10-01,,2026-11-22`).rows).toHaveLength(1);
  });

  it('numbers rejected rows as an editor shows them, blank lines and quoted line ends counted', () => {
    const file = parse('', '7,article-57,v1,2026-10-01,,2026-11-22', '', '1,article-57,v9,2026-10-01,,2026-11-22');
    expect(file.rejected).toEqual([{ line: 5, fault: 'NOTICE_UNKNOWN' }]);
  });

  it('knows the form that says nothing has changed', () => {
    expect(parse(',,,,,2026-11-22')).toMatchObject({ isNoChange: true, rows: [], rejected: [] });
    expect(parse(',,,,,2026-11-22', '1,article-57,v1,2026-10-01,,2026-11-22').isNoChange).toBe(false);
  });

  it('reads a byte order mark, quotes, spaces and CRLF', () => {
    const text = `\uFEFF"patient_id",basis,notice,notified_on,stopped_on,as_of\r\n"00 1" , article-57,"v1",2026-10-01,,2026-11-22\r\n`;
    expect(parseRegisterFile(Buffer.from(text), notices, now).rows[0]?.patientId).toBe('00 1');
  });

  it('reads what Excel saves in Japan: CP932', () => {
    // 架橋 in CP932, as a patient id somebody typed a name into.
    const row = Buffer.concat([
      Buffer.from([0x89, 0xcb, 0x8b, 0xb4]),
      Buffer.from(',article-57,v1,2026-10-01,,2026-11-22\r\n'),
    ]);
    const file = parseRegisterFile(Buffer.concat([Buffer.from(`${header}\r\n`), row]), notices, now);
    expect(file.rows[0]?.patientId).toBe('架橋');
  });

  it.each([
    ['REGISTER_HEADER', 'patient_id,basis,notice,notified_on,as_of\n1,article-57,v1,2026-10-01,2026-11-22\n'],
    ['REGISTER_HEADER', 'patient_id,notice,basis,notified_on,stopped_on,as_of\n'],
    ['REGISTER_HEADER', ''],
    ['REGISTER_HEADER', `\n${header.toUpperCase()}\n`],
    ['REGISTER_NOT_DATED', `${header}\n`],
    ['REGISTER_NOT_DATED', `${header}\n1,article-57,v1,2026-10-01,,\n`],
    ['REGISTER_UNREADABLE', `${header}\n1,article-57,"v1,2026-10-01,,2026-11-22\n`],
  ])('is refused whole with %s: %j', (code, text) => {
    expect(codeOf(() => parseRegisterFile(Buffer.from(text), notices, now))).toBe(code);
  });

  it('throws nothing but errors with a code, whatever the bytes', () => {
    const soup = fc.oneof(
      fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
      fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.concat([Buffer.from(`${header}\n`), bytes])),
      fc
        .array(
          fc.array(fc.constantFrom('', '1', '"', 'article-57', 'v1', '2026-10-01', '2026-99-99', 'ｱ', '\n'), {
            maxLength: 8,
          }),
        )
        .map((rows) => Buffer.from([header, ...rows.map((cells) => cells.join(','))].join('\n'))),
    );
    fc.assert(
      fc.property(soup, (bytes) => {
        try {
          const file = parseRegisterFile(bytes, notices, now);
          // Whatever was taken is whole, and every line was either taken or named.
          for (const { patientId, notified, stopped } of file.rows) {
            expect(patientId.length).toBeGreaterThan(0);
            expect(notified ?? stopped).toBeDefined();
          }
        } catch (error) {
          expect(error).toBeInstanceOf(ConnectorError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('never reads a row with anything in its stop column as if it had no stop', () => {
    const cell = fc.stringMatching(/^[0-9A-Za-z/ -]{1,12}$/).filter((text) => text.trim() !== '');
    fc.assert(
      fc.property(cell, (stoppedOn) => {
        const file = parse(
          '7,article-57,v1,2026-10-01,,2026-11-22',
          `1,article-57,v1,2026-10-01,${stoppedOn},2026-11-22`,
        );
        expect(file.hasUnreadableStop || file.rows[1]?.stopped !== undefined).toBe(true);
      }),
    );
  });
});
