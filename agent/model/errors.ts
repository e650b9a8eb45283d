/**
 * The one table of errors. A code is stable and never reused; `docs/errors.md` is made from this table and a test
 * counts that every code is provoked. The class decides the retry, and nothing else does:
 *
 * - `transient`: try again, by itself.
 * - `ambiguous`: it may have arrived; send again under the same id.
 * - `permanent`: stop that thing and tell a person.
 *
 * `{words}` in a sentence are filled from the error's details: numbers, names from the configuration, codes. Never a
 * value of a patient, never a secret.
 */
export type ErrorClass = 'transient' | 'ambiguous' | 'permanent';

interface ErrorEntry {
  readonly class: ErrorClass;
  readonly sentence: string;
  readonly hint: string;
  readonly ja: string;
}

export const errorTable = {
  // Configuration and command line
  CONFIG_INVALID: {
    class: 'permanent',
    sentence: '{file} has {count} problem(s):\n{problems}',
    hint: 'Correct the lines named; `kakehashi check --config FILE` shows them again. The running connector goes on with its old configuration.',
    ja: '設定ファイルに誤りがあります。表示された行を直してください。',
  },
  CONFIG_UNREADABLE: {
    class: 'permanent',
    sentence: 'The configuration {file} cannot be read: {reason}.',
    hint: 'Check the path and that the service user may read it; `kakehashi init --config FILE` writes a new one.',
    ja: '設定ファイルを読めません。パスと権限を確認してください。',
  },
  USAGE: {
    class: 'permanent',
    sentence: '{problem}',
    hint: '`kakehashi help` lists the commands, `kakehashi <command> --help` its options.',
    ja: 'コマンドの使い方が正しくありません。kakehashi help を見てください。',
  },
  ALREADY_EXISTS: {
    class: 'permanent',
    sentence: '{path} already exists and is not overwritten.',
    hint: 'Choose another place, or move the old file away first.',
    ja: '既に存在するため上書きしません。別の場所を指定してください。',
  },
  FILE_UNREADABLE: {
    class: 'permanent',
    sentence: '{path} cannot be read: {reason}.',
    hint: 'Check that the file exists and that the service user may read it.',
    ja: 'ファイルを読めません。パスと権限を確認してください。',
  },

  // State folder, database, keys
  STATE_LOCKED: {
    class: 'permanent',
    sentence: 'The state folder {path} is in use by another process.',
    hint: 'One process owns the state: stop the other connector, or let this command talk to it through its control socket.',
    ja: '状態フォルダは別のプロセスが使用中です。',
  },
  STATE_UNSAFE: {
    class: 'permanent',
    sentence: 'The database {path} does not hold what durability needs: {problem}.',
    hint: 'Do not go on with it. Run `kakehashi buffer verify`, and restore a backup if it reports damage.',
    ja: 'データベースの耐久性設定を確認できません。使用を中止し、buffer verify を実行してください。',
  },
  STATE_NEWER: {
    class: 'permanent',
    sentence: 'The state was written by a newer version: {part} is at {found}, this version knows {known}.',
    hint: 'Install the newer version again, or restore the backup made before the upgrade.',
    ja: '状態はより新しい版で書かれています。新しい版に戻すか、更新前のバックアップを復元してください。',
  },
  KEY_UNREADABLE: {
    class: 'permanent',
    sentence: 'The key {path} cannot be used: {reason}.',
    hint: 'The file must belong to the service user with mode 0600. If it is lost, `kakehashi restore --recovery-key` opens the state with the printed recovery key.',
    ja: '鍵ファイルを使用できません。所有者と権限 (0600) を確認してください。',
  },
  SEAL_BROKEN: {
    class: 'permanent',
    sentence: 'A sealed value does not open: {what}.',
    hint: 'The disk or a backup altered it, or the site key is another one. Run `kakehashi buffer verify`.',
    ja: '暗号化されたデータを開けません。破損または鍵の不一致です。buffer verify を実行してください。',
  },
  SIGNATURE_INVALID: {
    class: 'permanent',
    sentence: 'A signed statement is refused: {reason}.',
    hint: 'Compare the key fingerprints with the other side by telephone; do not replace a key on the word of a message.',
    ja: '署名を検証できません。相手先と鍵の指紋を電話で照合してください。',
  },

  // Intake and buffer
  BUFFER_FULL: {
    class: 'transient',
    sentence: 'Nothing more can be stored: {reason}.',
    hint: 'Free space on the disk of the state folder or let the backlog ship. The senders keep what was not acknowledged and send it again.',
    ja: '保存領域がありません。空き容量を増やしてください。送信側は未確認の電文を再送します。',
  },
  BUFFER_FAILED: {
    class: 'transient',
    sentence: 'The buffer could not commit: {reason}.',
    hint: 'Look at the disk of the state folder (`dmesg`, free space). Nothing was acknowledged; senders will repeat.',
    ja: '保存に失敗しました。ディスクを確認してください。確認応答は返していません。',
  },
  RECORD_TOO_LARGE: {
    class: 'permanent',
    sentence: 'A record is larger than the {limitBytes} bytes allowed.',
    hint: 'Raise `limits.recordBytes` if the record is genuine.',
    ja: 'レコードが上限より大きいです。正当なデータなら上限を上げてください。',
  },
} as const satisfies Readonly<Record<string, ErrorEntry>>;

export type ErrorCode = keyof typeof errorTable;

/** Values that fill the sentence. */
export type ErrorDetails = Readonly<Record<string, string | number>>;

export class ConnectorError extends Error {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, details: ErrorDetails = {}, options?: { cause?: unknown }) {
    super(fill(errorTable[code].sentence, details), options);
    this.name = 'ConnectorError';
    this.code = code;
    this.details = details;
  }

  get class(): ErrorClass {
    return errorTable[this.code].class;
  }

  get hint(): string {
    return errorTable[this.code].hint;
  }

  get ja(): string {
    return errorTable[this.code].ja;
  }
}

/** True for our error with this code, whichever copy of the class made it. */
export function isError(error: unknown, code: ErrorCode): error is ConnectorError {
  return error instanceof Error && 'code' in error && error.code === code;
}

/** The short reason of an error of the system or a library, for a sentence: its code where it has one. */
export function reasonOf(error: unknown): string {
  if (error instanceof ConnectorError) return error.message;
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  return error instanceof Error ? error.name : 'unknown';
}

function fill(sentence: string, details: ErrorDetails): string {
  return sentence.replaceAll(/\{(\w+)\}/g, (whole, name: string) => String(details[name] ?? whole));
}
