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
  PACKAGE_REFUSED: {
    class: 'permanent',
    sentence: '{path} is not shown to be what was published: {reason}.',
    hint: 'Do not install it. Bring the package and its .minisig again, and compare the public key with the one that was given to you on paper.',
    ja: '正規のパッケージと確認できません。インストールせず、ファイルと署名を入手し直し、公開鍵を書面と照合してください。',
  },
  LEDGER_BROKEN: {
    class: 'permanent',
    sentence: 'The ledger does not verify at entry {seq}: {problem}.',
    hint: 'Do not repair it. Stop shipping (`kakehashi pause`), keep the state folder as it is, and compare with the newest backup and the producer’s receipts.',
    ja: '台帳の検証に失敗しました。修復せずに送出を停止し、状態フォルダを保全してください。',
  },

  // Register
  REGISTER_UNREADABLE: {
    class: 'permanent',
    sentence: 'The register file is refused: {reason}.',
    hint: 'Save it again as CSV (UTF-8 or CP932). Shipping goes on with the register as it was, until that grows stale.',
    ja: '登録ファイルを読めません。CSV（UTF-8 または CP932）で保存し直してください。',
  },
  REGISTER_HEADER: {
    class: 'permanent',
    sentence: 'The register file is refused: its first line is not exactly `{expected}`.',
    hint: 'A column is missing, renamed or moved. Correct the export; nothing of the file was taken.',
    ja: '登録ファイルの見出し行が正しくありません。列の欠落・改名・並べ替えを直してください。',
  },
  REGISTER_NOT_DATED: {
    class: 'permanent',
    sentence: 'The register file is refused: no row has a valid `as_of`.',
    hint: 'Give each row the day the list was made (YYYY-MM-DD), not in the future.',
    ja: '登録ファイルの as_of が正しくありません。作成日 (YYYY-MM-DD) を記入してください。',
  },
  REGISTER_SHRUNK: {
    class: 'permanent',
    sentence: 'The register file is refused: it has {rows} row(s), the last one had {previous}.',
    hint: 'The export is probably cut off. If the list is right, run `kakehashi register import FILE --accept-shrink`.',
    ja: '登録ファイルの行数が急に減っています。出力の欠落がないか確認してください。',
  },
  REGISTER_BLOCKED: {
    class: 'permanent',
    sentence: 'Shipping is paused: a row that may be a stop could not be read ({rows} row(s), see {report}).',
    hint: 'Correct the rows named in the report and import the file again; until then nothing leaves.',
    ja: '停止の申出らしき行を読めないため送出を止めています。報告の行を直して取り込み直してください。',
  },
  NOTICE_EXISTS: {
    class: 'permanent',
    sentence: 'The notice version {version} is already registered.',
    hint: 'A notice text given to patients never changes: register the new text under a new version.',
    ja: 'この通知の版は登録済みです。新しい文面は新しい版として登録してください。',
  },
  NOTICE_UNKNOWN: {
    class: 'permanent',
    sentence: 'There is no notice version {version}.',
    hint: 'Register it first: `kakehashi register notice --version … --basis … --categories … --from …`.',
    ja: '通知の版が登録されていません。先に register notice で登録してください。',
  },

  PARCEL_REJECTED: {
    class: 'permanent',
    sentence: 'The producer could not open a parcel it had stored.',
    hint: 'Its records are kept here. Compare the recipients file with the producer, then run `kakehashi ship --rejected` to send them again.',
    ja: '作成事業者が小包を開けませんでした。受取人鍵を確認し、ship --rejected で再送してください。',
  },

  QUARANTINE_NOT_FOUND: {
    class: 'permanent',
    sentence: 'There is no record in quarantine with row number {row}.',
    hint: '`kakehashi quarantine list` shows the row numbers.',
    ja: 'その行番号の隔離レコードはありません。quarantine list で確認してください。',
  },
  QUARANTINE_NEEDS_PATIENT: {
    class: 'permanent',
    sentence: 'Record {row} names no patient that could be read, so it cannot be judged.',
    hint: 'Find the patient in the sending system and release it with `--patient ID`, or discard it.',
    ja: '患者を特定できないため判定できません。--patient で患者番号を指定するか、破棄してください。',
  },
  BUFFER_DAMAGED: {
    class: 'permanent',
    sentence: '{count} stored payload(s) do not open or do not match their digest; rows {rows}.',
    hint: 'Check the disk. The records named are set aside when they are packed; ask the sending systems to send them again.',
    ja: '保存データに破損があります。ディスクを確認し、該当データの再送を送信元に依頼してください。',
  },

  BACKUP_DAMAGED: {
    class: 'permanent',
    sentence: 'The backup cannot be used: {file}: {reason}.',
    hint: 'Take an older generation of the backup; nothing was restored.',
    ja: 'バックアップが破損しています。前の世代を使用してください。復元は行っていません。',
  },
  RECOVERY_KEY_WRONG: {
    class: 'permanent',
    sentence: 'The recovery key does not open the site key of this backup ({reason}).',
    hint: 'The file must hold the whole line `AGE-SECRET-KEY-1…` as it was printed at `init` of this installation.',
    ja: '復旧鍵でサイト鍵を開けません。init で印刷した AGE-SECRET-KEY-1… の行全体を指定してください。',
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

  // Schedule and health
  SCHEDULE_INVALID: {
    class: 'permanent',
    sentence: 'The timetable "{text}" cannot be used: {reason}.',
    hint: 'Write cron fields as "minute hour day month weekday" (`30 22 * * *`) and transfer hours as "22:00-06:00", in Japan time.',
    ja: '時刻の指定が正しくありません。cron 形式（例 30 22 * * *）または 22:00-06:00 の形で、日本時間で書いてください。',
  },
  JOB_BUSY: {
    class: 'transient',
    sentence: '{job} is already running.',
    hint: 'Wait until it has finished; `kakehashi status` shows it. Two runs at once are never started.',
    ja: 'その処理は既に実行中です。終わるまでお待ちください。',
  },
  JOB_FAILED: {
    class: 'transient',
    sentence: '{job} ended by a fault of the software: {reason}.',
    hint: 'Nothing was lost, and it runs again at its next time. If it happens each time, report the log line to the supplier.',
    ja: 'ソフトウェアの不具合で処理が中断しました。データは失われておらず、次の時刻に再実行します。続く場合は連絡してください。',
  },
  JOB_STUCK: {
    class: 'transient',
    sentence: '{job} did not stop within {limitMs} ms.',
    hint: 'Stopping the service is safe all the same: what it had not finished is done again after the next start.',
    ja: '処理が時間内に停止しませんでした。そのままサービスを停止しても安全です。次回起動後にやり直します。',
  },
  CONSOLE_UNAVAILABLE: {
    class: 'permanent',
    sentence: 'The console cannot be served on {address}: {reason}.',
    hint: 'Set `console.listen` to a free port of this machine itself, such as 127.0.0.1:8420, and reload. Records are read and shipped without it.',
    ja: '管理画面を公開できません。console.listen を 127.0.0.1 の空きポートにして再読み込みしてください。収集と送信には影響しません。',
  },
  HOST_REFUSED: {
    class: 'permanent',
    sentence: 'A request was not answered: it named another host than this machine.',
    hint: 'Open the page as http://127.0.0.1:8420/ or http://localhost:8420/, also through a tunnel. Under any other name a web page from elsewhere could read it.',
    ja: 'この名前では応答しません。http://127.0.0.1:8420/ または http://localhost:8420/ を開いてください（トンネル経由でも同じです）。',
  },
  METRICS_UNAVAILABLE: {
    class: 'permanent',
    sentence: 'The metrics cannot be served on {address}: {reason}.',
    hint: 'Set `health.metrics` to a free port of this machine itself, such as 127.0.0.1:9420. Records are read and shipped without it.',
    ja: 'メトリクスを公開できません。health.metrics を 127.0.0.1 の空きポートにしてください。収集と送信には影響しません。',
  },

  // Control socket and test sender
  CONTROL_UNREACHABLE: {
    class: 'transient',
    sentence: 'No running connector answers at {path}: {reason}.',
    hint: 'Start the service (`systemctl start kakehashi`), or name the configuration of the one that runs with --config.',
    ja: '動作中のコネクタに接続できません。サービスを起動するか、--config を確認してください。',
  },
  CONTROL_BROKEN: {
    class: 'ambiguous',
    sentence: 'The connector stopped answering before `{verb}` was finished.',
    hint: 'It may have been carried out. Look at `kakehashi status`, then give the command again.',
    ja: '処理の途中で応答が途絶えました。status で確認してから再実行してください。',
  },
  CONTROL_REFUSED: {
    class: 'permanent',
    sentence: 'The running connector refused the request: {reason}.',
    hint: 'Command and connector are probably of different versions: restart the service after an upgrade.',
    ja: '動作中のコネクタが要求を拒否しました。版が異なる場合はサービスを再起動してください。',
  },
  CONTROL_FAILED: {
    class: 'permanent',
    sentence: '`{verb}` failed inside the running connector: {reason}.',
    hint: 'This is a defect of the software. Nothing was lost; the log of the service names the place. Report it.',
    ja: 'コネクタ内部の不具合です。データは失われていません。サービスのログを添えて連絡してください。',
  },
  FILE_UNWRITABLE: {
    class: 'permanent',
    sentence: '{path} cannot be written: {reason}.',
    hint: 'Run the command as a user who may write there (`sudo`), or name another place; check that the disk is not full.',
    ja: 'ファイルを書き込めません。権限・パス・空き容量を確認してください。',
  },
  SEND_FAILED: {
    class: 'ambiguous',
    sentence: '{to} did not answer the message: {reason}.',
    hint: 'Check address, port, firewall and TLS. A message that was sent may have been taken; sending it again is harmless.',
    ja: '送信先から応答がありません。アドレス・ポート・ファイアウォール・TLS を確認してください。',
  },
  SEND_REFUSED: {
    class: 'permanent',
    sentence: '{count} of {total} message(s) were not accepted by {to}.',
    hint: 'The lines above show the code of each answer: AE/CE busy, try again; AR/CR the message itself is refused.',
    ja: '受理されなかった電文があります。上の応答コードを確認してください（AE/CE は再送、AR/CR は電文の誤り）。',
  },

  // Producer's side
  PRODUCER_USAGE: {
    class: 'permanent',
    sentence: '{problem}',
    hint: '`kakehashi-producer help` lists the commands, `kakehashi-producer <command> --help` its options.',
    ja: 'コマンドの使い方が正しくありません。kakehashi-producer help を見てください。',
  },
  PRODUCER_KEYS_UNUSABLE: {
    class: 'permanent',
    sentence: "The producer's key folder {path} cannot be used: {reason}.",
    hint: '`kakehashi-producer keygen --dir DIR` makes one. Files must belong to the user that runs the intake, with mode 0600.',
    ja: '鍵フォルダを使用できません。keygen で作成し、所有者と権限 (0600) を確認してください。',
  },
  PRODUCER_DATA_MISSING: {
    class: 'permanent',
    sentence: 'There is no intake data in {path}.',
    hint: 'Give --data the folder that `kakehashi-producer serve` was given.',
    ja: '受付のデータがありません。serve に指定したフォルダを --data に指定してください。',
  },
  INTAKE_REFUSED: {
    class: 'permanent',
    sentence: 'The intake refused a request: {answer}.',
    hint: 'docs/producer-api.md says what each answer means and what the client does next.',
    ja: '受付が要求を拒否しました。docs/producer-api.md の応答コードを確認してください。',
  },
  INTAKE_FAILED: {
    class: 'transient',
    sentence: 'The intake could not finish a request: {reason}.',
    hint: 'Look at the disk of the data folder (free space, `dmesg`). Nothing was promised to the hospital; it sends again by itself.',
    ja: '受付の処理に失敗しました。データフォルダのディスクを確認してください。病院側は自動で再送します。',
  },
  INTAKE_LISTEN_FAILED: {
    class: 'permanent',
    sentence: 'The intake cannot listen on {address}: {reason}.',
    hint: 'Another process may hold the port (`ss -ltnp`), or the address is not of this machine. Correct --listen.',
    ja: '待ち受けを開始できません。ポートの使用状況と --listen の指定を確認してください。',
  },
  REVOCATION_UNREADABLE: {
    class: 'permanent',
    sentence: 'Line {line} of the revocation list {path} is not a certificate serial in hex.',
    hint: 'Correct the line; until then the list that was read before stays in force and new entries are not.',
    ja: '失効リストに読めない行があります。直すまでは以前のリストが有効です。',
  },
  RETRACTION_UNREADABLE: {
    class: 'permanent',
    sentence: 'A retraction cannot be decrypted with the identities in the key folder: {reason}.',
    hint: 'It stays open in `kakehashi-producer fleet`. Open it with the recovery identity, or ask the hospital to send it again.',
    ja: '提供停止の通知を復号できません。回復用の鍵で開くか、病院に再送を依頼してください。',
  },
  PARCEL_OPEN_STUCK: {
    class: 'transient',
    sentence: 'A parcel has ended {attempts} attempts to open it without an answer.',
    hint: 'The process died each time, most likely for lack of memory or disk. It is tried again, ever more rarely; `kakehashi-producer open --receipt` opens it by hand on a larger machine.',
    ja: '開封の途中で処理が繰り返し終了しています。間隔を空けて再試行します。大きなマシンで open --receipt により手動で開封できます。',
  },

  // Parcels
  PAYLOAD_MISMATCH: {
    class: 'permanent',
    sentence: 'Record {ordinal} of a parcel is not what was accepted: it {problem}.',
    hint: 'Nothing of this parcel was sent. The disk altered the record: run `kakehashi buffer verify`, and look at the disk (`dmesg`).',
    ja: '受け取ったときと内容が異なる記録があり、送信を中止しました。buffer verify を実行し、ディスクを確認してください。',
  },
  PARCEL_LINE_INVALID: {
    class: 'permanent',
    sentence: 'The {what} number {ordinal} of a parcel cannot be described: its {field} is not as the format says.',
    hint: 'Nothing was sent. The source system gave a value that is empty, too long or not a date; report the log line to the supplier.',
    ja: '記録の項目が形式に合わないため送信を中止しました。ログを添えて連絡してください。',
  },
  PARCEL_OVERFULL: {
    class: 'permanent',
    sentence: 'A parcel would hold more than {limit} {unit}.',
    hint: 'Nothing was sent and nothing is lost. This is a defect of the software: report it with the log.',
    ja: '送信ファイルが上限を超えるため作成を中止しました。データは失われていません。ログを添えて連絡してください。',
  },
  PARCEL_UNWRITABLE: {
    class: 'transient',
    sentence: 'A parcel cannot be written: {reason}.',
    hint: 'Free space on that disk and check that the service user may write there. It is tried again by itself.',
    ja: '送信ファイルを書き込めません。空き容量と権限を確認してください。自動で再試行します。',
  },
  RECIPIENTS_INVALID: {
    class: 'permanent',
    sentence: 'The recipients file cannot be used: {reason}.',
    hint: 'Put in the file the producer gave you as it is: age recipients (`age1…`), one a line, at least two. Never a secret key.',
    ja: '宛先鍵ファイルを使用できません。事業者から受け取ったファイル（age1… が2行以上）をそのまま置いてください。',
  },
  IDENTITIES_INVALID: {
    class: 'permanent',
    sentence: 'The identity file cannot be used: {reason}.',
    hint: 'It must be a file made by `age-keygen` or `kakehashi-producer keygen`, with lines that begin AGE-SECRET-KEY-.',
    ja: '復号鍵ファイルを使用できません。keygen で作成したファイルを指定してください。',
  },
  PARCEL_NOT_AGE: {
    class: 'permanent',
    sentence: 'This is not an age file, or its header was altered.',
    hint: 'Fetch the parcel again and compare its SHA-256 with the signed statement. Nothing was published.',
    ja: 'age 形式のファイルではないか、先頭部分が壊れています。再取得し、SHA-256 を確認してください。',
  },
  PARCEL_NOT_FOR_US: {
    class: 'permanent',
    sentence: 'The parcel is encrypted to other keys than those given.',
    hint: 'Try the recovery key. If neither fits, the hospital has an old recipients file: send it the current one.',
    ja: 'この鍵では復号できません。回復用の鍵を試し、それでも開けない場合は病院の宛先鍵ファイルを確認してください。',
  },
  PARCEL_DAMAGED: {
    class: 'permanent',
    sentence: 'The parcel was altered, cut short or lengthened: its part {chunk} does not open.',
    hint: 'Fetch it again and compare its SHA-256 with the signed statement. Nothing was published.',
    ja: 'ファイルが破損しています。再取得し、SHA-256 を確認してください。何も公開されていません。',
  },
  PARCEL_COMPRESSION_INVALID: {
    class: 'permanent',
    sentence: 'The contents of the parcel do not decompress: {problem}.',
    hint: 'The hospital wrote it wrongly: nothing was published. Send its parcel id to the supplier of the connector.',
    ja: '圧縮データが不正です。何も公開されていません。parcel ID を添えて供給元へ連絡してください。',
  },
  PARCEL_TAR_INVALID: {
    class: 'permanent',
    sentence: 'The archive inside the parcel is not as the format says: {problem}.',
    hint: 'The hospital wrote it wrongly: nothing was published. Send its parcel id to the supplier of the connector.',
    ja: '内部のアーカイブが不正です。何も公開されていません。parcel ID を添えて供給元へ連絡してください。',
  },
  PARCEL_ENTRY_REFUSED: {
    class: 'permanent',
    sentence: 'Entry {entry} of the parcel is refused: {problem}.',
    hint: 'A correct connector never writes such an entry. Treat the parcel as hostile, keep the sealed file, and call the hospital.',
    ja: '許可されない項目が含まれています。不正なファイルとして扱い、保全した上で病院へ連絡してください。',
  },
  PARCEL_MANIFEST_MISMATCH: {
    class: 'permanent',
    sentence: 'The list of digests does not match the contents of the parcel: {problem}.',
    hint: 'Nothing was published. Send the parcel id to the supplier of the connector; the hospital still has the records.',
    ja: '内容とダイジェスト一覧が一致しません。何も公開されていません。parcel ID を添えて供給元へ連絡してください。',
  },
  PARCEL_INDEX_INVALID: {
    class: 'permanent',
    sentence: 'Line {line} of {file} in the parcel is refused: {problem}.',
    hint: 'Nothing was published. If the connector is newer than this software, upgrade this side first, then open it again.',
    ja: '索引の内容が不正です。コネクタの方が新しい場合は、受信側を更新してから再度開封してください。',
  },
  PARCEL_COUNTS_WRONG: {
    class: 'permanent',
    sentence: 'The parcel holds {found} {what}, but says {stated}.',
    hint: 'Nothing was published. Send the parcel id to the supplier of the connector.',
    ja: '件数が一致しません。何も公開されていません。parcel ID を添えて供給元へ連絡してください。',
  },
  PARCEL_STATEMENT_MISMATCH: {
    class: 'permanent',
    sentence: 'The parcel is not the one its signed statement speaks of: {field} differs.',
    hint: 'The statement may belong to another parcel. Fetch both again by the parcel id; nothing was published.',
    ja: '署名付き通知とファイルの内容が一致しません。両方を parcel ID で取り直してください。',
  },
  PARCEL_SUITE_UNKNOWN: {
    class: 'permanent',
    sentence: 'The parcel is of a suite this software does not know; it knows {known}.',
    hint: 'Upgrade this side, then open it again. The sealed file stays as it is.',
    ja: '未対応の形式です。受信側のソフトウェアを更新してから再度開封してください。',
  },
  PARCEL_TOO_LARGE: {
    class: 'permanent',
    sentence: 'The parcel holds more than the {limit} {unit} allowed.',
    hint: 'A correct connector stays below this. Treat it as hostile, or raise the limit if the hospital confirms it.',
    ja: '許容量を超えるファイルです。病院に確認できるまで不正なファイルとして扱ってください。',
  },

  // Network and TLS (base/net)
  NET_UNREACHABLE: {
    class: 'transient',
    sentence: 'No connection to {peer}: {reason}.',
    hint: 'Check that this server reaches that address: name resolution, routing, the firewall (outbound TCP to that port). It is tried again by itself.',
    ja: '接続先に到達できません。名前解決・経路・ファイアウォール(外向き通信)を確認してください。自動的に再試行します。',
  },
  NET_CUT: {
    class: 'ambiguous',
    sentence: 'The connection to {peer} broke: {reason}.',
    hint: 'An ordinary bad line needs nothing; it goes on where it stopped. If it breaks each time right after connecting, the other side may not accept our certificate: ask its operator.',
    ja: '通信が途中で切れました。自動的に続きから再開します。接続直後に毎回切れる場合は、証明書が受け入れられていない可能性があるため相手先に確認してください。',
  },
  NET_STALLED: {
    class: 'ambiguous',
    sentence: 'The connection to {peer} stood still and was cut: {reason}.',
    hint: 'It goes on by itself. If it happens all night, ask the network team about the line and about time limits of firewalls and proxies.',
    ja: '通信が停滞したため切断しました。自動的に再開します。続く場合は回線とファイアウォールの時間制限を確認してください。',
  },
  PROXY_UNREACHABLE: {
    class: 'transient',
    sentence: 'The proxy {peer} does not answer: {reason}.',
    hint: 'Check the address of the proxy in the configuration with the network team. It is tried again by itself.',
    ja: 'プロキシが応答しません。設定のアドレスをネットワーク担当に確認してください。自動的に再試行します。',
  },
  PROXY_AUTH_REQUIRED: {
    class: 'permanent',
    sentence: 'The proxy {peer} wants a user name and password, or does not accept the ones we have.',
    hint: 'Enter them in the configuration (`proxy`). Only Basic authentication is spoken; for NTLM or Kerberos ask the network team for an exception for this server.',
    ja: 'プロキシの認証に失敗しました。設定のユーザー名とパスワードを確認してください。対応しているのは Basic 認証だけです。',
  },
  PROXY_REFUSED: {
    class: 'transient',
    sentence: 'The proxy {peer} refused to connect us: status {status}.',
    hint: 'Ask the network team to allow CONNECT from this server to the host and port in question.',
    ja: 'プロキシが接続を拒否しました。このサーバーからの CONNECT の許可をネットワーク担当に依頼してください。',
  },
  PROXY_UNSUPPORTED: {
    class: 'permanent',
    sentence: 'The proxy is not an http:// address.',
    hint: 'Write it as http://host:port. What passes through it is encrypted for the producer all the same.',
    ja: 'プロキシは http://ホスト:ポート の形で指定してください。',
  },
  TLS_SERVER_EXPIRED: {
    class: 'permanent',
    sentence: 'The certificate of {peer} has expired.',
    hint: 'Call the operator of the other side: they must renew it. If it is fresh, the clock of this server is wrong.',
    ja: '相手先のサーバー証明書の期限が切れています。相手先に更新を依頼してください。本サーバーの時計も確認してください。',
  },
  TLS_SERVER_NOT_YET_VALID: {
    class: 'permanent',
    sentence: 'The certificate of {peer} is not valid yet.',
    hint: 'Nearly always the clock of this server is behind: check its time and NTP. Otherwise call the operator of the other side.',
    ja: '相手先の証明書がまだ有効ではありません。多くの場合、本サーバーの時計が遅れています。時刻と NTP を確認してください。',
  },
  TLS_SERVER_NAME: {
    class: 'permanent',
    sentence: 'The certificate of {peer} is for another name.',
    hint: 'Compare the url in the configuration with what the producer gave you. If it is right, call their operator.',
    ja: '相手先の証明書の名前が接続先と一致しません。設定の url を確認し、正しければ相手先に連絡してください。',
  },
  TLS_SERVER_UNKNOWN: {
    class: 'permanent',
    sentence: 'The certificate of {peer} is not from the authority we trust.',
    hint: 'Compare the file `tls.ca` with the producer by telephone. A firewall that opens TLS looks the same: ask the network team to exempt this host. Nothing was sent.',
    ja: '相手先の証明書の発行元が登録した認証局と異なります。電話で tls.ca を照合してください。TLS を復号するファイアウォールの除外設定も確認してください。何も送信していません。',
  },
  TLS_INSPECTED: {
    class: 'permanent',
    sentence: 'The proxy on the way to {peer} opens TLS: the certificate is not from the authority we trust.',
    hint: 'Ask the network team to exempt this host from TLS inspection. Do not add the certificate of the proxy to `tls.ca`. Nothing was sent.',
    ja: 'プロキシが TLS 通信を復号しています。この接続先を TLS 検査の対象外にするようネットワーク担当に依頼してください。プロキシの証明書を tls.ca に追加しないでください。何も送信していません。',
  },
  TLS_TOO_OLD: {
    class: 'permanent',
    sentence: '{peer} does not speak TLS 1.3.',
    hint: 'Call the operator of the other side, or check that the port is the right one. Older versions are refused on purpose.',
    ja: '接続先が TLS 1.3 に対応していません。ポート番号を確認し、相手先に連絡してください。',
  },
  TLS_CLIENT_EXPIRED: {
    class: 'permanent',
    sentence: 'Our certificate {path} expired on {day}.',
    hint: 'Ask the producer for a new one and put it in its place; no restart is needed. Data waits here meanwhile.',
    ja: '本機のクライアント証明書の期限が切れています。相手先から新しい証明書を受け取り、差し替えてください。再起動は不要です。',
  },
  TLS_CLIENT_NOT_YET_VALID: {
    class: 'permanent',
    sentence: 'Our certificate {path} is valid only from {day}.',
    hint: 'Check the clock of this server. If it is right, wait for that day or ask the producer for another certificate.',
    ja: '本機のクライアント証明書はまだ有効ではありません。本サーバーの時計を確認してください。',
  },
  TLS_CLIENT_REFUSED: {
    class: 'permanent',
    sentence: '{peer} does not accept our certificate: {reason}.',
    hint: 'Ask the producer whether the certificate of this hospital is known, current and not revoked.',
    ja: '相手先が本機のクライアント証明書を拒否しました。登録・期限・失効の状況を相手先に確認してください。',
  },
  TLS_CLIENT_UNUSABLE: {
    class: 'permanent',
    sentence: 'The TLS file {path} cannot be used: {reason}.',
    hint: 'Check the path, that the service user may read it, and that certificate and key are the pair the producer gave you.',
    ja: 'TLS の証明書または鍵ファイルを使用できません。パス、権限、証明書と鍵の組み合わせを確認してください。',
  },

  // Shipping (ship)
  RATE_INVALID: {
    class: 'permanent',
    sentence: 'The bandwidth timetable is wrong at position {position}: {problem}.',
    hint: 'Write it like "06:00 0, 22:00 20M": from six nothing, from ten at night 20 MiB a second.',
    ja: '帯域の時間表に誤りがあります。例: "06:00 0, 22:00 20M"',
  },
  PRODUCER_BUSY: {
    class: 'transient',
    sentence: 'The producer {producer} asks us to wait: status {status}.',
    hint: 'Nothing to do; it is tried again by itself.',
    ja: '相手先が混雑しています。自動的に再試行します。',
  },
  PRODUCER_FULL: {
    class: 'transient',
    sentence: 'The disk of the producer {producer} is full: status {status}.',
    hint: 'Tell the operator of the producer. Data waits here, and it is tried again by itself.',
    ja: '相手先の保存領域が不足しています。相手先に連絡してください。データは本機に保持され、自動的に再試行します。',
  },
  PRODUCER_FAILED: {
    class: 'transient',
    sentence: 'The producer {producer} answered with a fault of its own: status {status}.',
    hint: 'It is tried again by itself. If it lasts for hours, tell the operator of the producer.',
    ja: '相手先で障害が発生しています。自動的に再試行します。長く続く場合は相手先に連絡してください。',
  },
  PRODUCER_ANSWER_INVALID: {
    class: 'transient',
    sentence: 'An answer of the producer {producer} is not what its interface promises: {reason}.',
    hint: 'Often a maintenance page of something in between; it is tried again by itself. If it lasts, tell the operator of the producer.',
    ja: '相手先の応答が仕様と異なります。自動的に再試行します。続く場合は相手先に連絡してください。',
  },
  PRODUCER_DENIED: {
    class: 'permanent',
    sentence: 'The producer {producer} does not let us in: status {status}.',
    hint: 'Ask the producer whether this hospital is enrolled and its certificate current.',
    ja: '相手先がアクセスを拒否しました。施設の登録状況と証明書を相手先に確認してください。',
  },
  PRODUCER_NOT_FOUND: {
    class: 'permanent',
    sentence: 'There is no intake at the url of the producer {producer}: status {status}.',
    hint: 'Compare `url` in the configuration with what the producer gave you.',
    ja: '設定の url に受信サービスがありません。相手先から指定された url と照合してください。',
  },
  PRODUCER_REFUSED: {
    class: 'permanent',
    sentence: 'The producer {producer} refused a request: status {status}.',
    hint: 'The two versions may not fit. Give the status and the time to the operator of the producer.',
    ja: '相手先が要求を拒否しました。状態番号と時刻を相手先に伝えてください。',
  },
  EPOCH_OLD: {
    class: 'permanent',
    sentence: 'The producer {producer} knows a newer installation of this hospital; this one must not ship.',
    hint: 'Is an old copy of this server running, or was a backup started twice? Switch the copy off. If this is the right one, run `kakehashi restore` here.',
    ja: 'より新しい設置が既に稼働しています。古い複製なら停止してください。本機が正しい場合は kakehashi restore を実行してください。',
  },
  KEY_MISMATCH: {
    class: 'permanent',
    sentence: 'The producer {producer} has another signing key on record for this hospital.',
    hint: 'Compare the key fingerprint (`kakehashi status`) with the producer by telephone and have it enrolled again.',
    ja: '相手先に登録された署名鍵が異なります。電話で鍵の指紋を照合し、再登録してください。',
  },
  HEARTBEAT_OLD: {
    class: 'permanent',
    sentence: 'The producer {producer} has seen a newer heartbeat already.',
    hint: 'Nothing to do for one; if it goes on, a copy of this server is running somewhere.',
    ja: '古い番号の稼働通知として拒否されました。続く場合は、本機の複製が動作していないか確認してください。',
  },
  PARCEL_CONFLICT: {
    class: 'transient',
    sentence: 'The producer {producer} stands elsewhere in parcel {parcel} than we thought.',
    hint: 'Nothing to do; it is asked again and goes on from there.',
    ja: '送信位置が相手先と一致しません。自動的に確認して続行します。',
  },
  PARCEL_GONE: {
    class: 'permanent',
    sentence: 'The producer {producer} has withdrawn parcel {parcel} for good.',
    hint: 'Its records are packed again under another parcel. If no stop was entered at that time, tell the operator of the producer.',
    ja: 'この小包は相手先で取り消されています。記録は別の小包で送り直されます。',
  },
  PARCEL_LOST: {
    class: 'permanent',
    sentence: 'The producer {producer} lost parcel {parcel} twice while it was being sent.',
    hint: 'Tell the operator of the producer: their storage does not keep what it accepts.',
    ja: '相手先が送信途中の小包を繰り返し失いました。相手先に連絡してください。',
  },
  PARCEL_OVER_LIMIT: {
    class: 'permanent',
    sentence: 'The producer {producer} does not take a parcel as large as {parcel}.',
    hint: 'Ask the producer to raise its limit for one upload.',
    ja: '小包が相手先の上限より大きいです。相手先に上限の引き上げを依頼してください。',
  },
  PARCEL_REFUSED: {
    class: 'permanent',
    sentence: 'The producer {producer} does not accept the statement of parcel {parcel}.',
    hint: 'Give the parcel id to the operator of the producer; their log says what does not fit.',
    ja: '小包の送り状が受け入れられません。小包 ID を相手先に伝えてください。',
  },
  PARCEL_DIGEST_REFUSED: {
    class: 'permanent',
    sentence: 'Parcel {parcel} arrived at {producer} twice with another digest than stated.',
    hint: 'The file on this disk, or the memory of one of the two machines, is damaged. Run `kakehashi buffer verify`.',
    ja: '小包の内容が送り状の値と一致しません。本機のディスクまたはメモリの故障が疑われます。buffer verify を実行してください。',
  },
  PARCEL_OTHER_LENGTH: {
    class: 'permanent',
    sentence: 'The producer {producer} knows parcel {parcel} with another length.',
    hint: 'Give the parcel id to the operator of the producer. Its records can be packed again under another parcel.',
    ja: '同じ ID の小包が別の長さで登録されています。小包 ID を相手先に伝えてください。',
  },
  PARCEL_FILE_SHORT: {
    class: 'permanent',
    sentence: 'The file of parcel {parcel} is shorter than when it was sealed.',
    hint: 'Look at the disk of the state folder and run `kakehashi buffer verify`. Its records are packed again.',
    ja: '小包のファイルが封印時より短くなっています。ディスクを確認し、buffer verify を実行してください。',
  },
  PRODUCER_OFFSET_INVALID: {
    class: 'permanent',
    sentence:
      'The producer {producer} says it holds {offset} bytes of parcel {parcel} where {expected} was to be expected.',
    hint: 'Its count cannot be trusted. Give the parcel id to the operator of the producer.',
    ja: '相手先が示す受信位置が正しくありません。小包 ID を相手先に伝えてください。',
  },
  PRODUCER_BODY_LIMIT: {
    class: 'permanent',
    sentence: 'Not even {bytes} bytes pass to the producer {producer} in one request.',
    hint: 'Something on the way limits the size of requests: ask the network team (proxy) and the producer (web server).',
    ja: '経路上の機器が要求の大きさを制限しています。プロキシと相手先の設定を確認してください。',
  },
  PRODUCER_ID_CHANGED: {
    class: 'permanent',
    sentence: 'The producer {producer} gave parcel {parcel} another id than ours.',
    hint: 'The tus server of the producer must take the id from the metadata `parcelId`; docs/producer-api.md says how.',
    ja: '相手先が小包に別の ID を割り当てました。メタデータ parcelId を ID に使うよう相手先に依頼してください。',
  },
  RECEIPT_MALFORMED: {
    class: 'permanent',
    sentence: 'An answer of {producer} is not a receipt: {reason}.',
    hint: 'Nothing was settled on it. Tell the operator of the producer.',
    ja: '受領証を読み取れません。この受領証による処理は行っていません。相手先に連絡してください。',
  },
  RECEIPT_WRONG_KEY: {
    class: 'permanent',
    sentence: 'A receipt of {producer} is not signed with a key we trust: {reason}.',
    hint: 'Nothing was settled on it. If the producer changed its key, compare fingerprints by telephone before replacing the file `receiptKeys`.',
    ja: '受領証の署名鍵が登録と異なります。鍵の変更であれば、電話で指紋を照合してから receiptKeys を差し替えてください。',
  },
  RECEIPT_NOT_OURS: {
    class: 'permanent',
    sentence: 'A receipt of {producer} is for {what}.',
    hint: 'Nothing was settled on it. Tell the operator of the producer.',
    ja: '受領証が本機宛てのものではありません。相手先に連絡してください。',
  },
  RECEIPT_WRONG_DIGEST: {
    class: 'permanent',
    sentence: 'The receipt of {producer} for {what} is over other bytes than we sent.',
    hint: 'Nothing was settled on it. Tell the operator of the producer at once: what they hold is not what left here.',
    ja: '受領証の内容が送信したものと一致しません。直ちに相手先に連絡してください。',
  },
  RECEIPT_WRONG_SEQUENCE: {
    class: 'permanent',
    sentence: 'The receipt of {producer} for parcel {parcel} names another sequence number.',
    hint: 'Nothing was settled on it. Tell the operator of the producer.',
    ja: '受領証の小包番号が一致しません。相手先に連絡してください。',
  },
  RECEIPT_CHAIN_BROKEN: {
    class: 'permanent',
    sentence: 'Receipt {number} of {producer} does not follow receipt {last}.',
    hint: 'A receipt is missing, repeated or was changed. Nothing was settled on it. Tell the operator of the producer.',
    ja: '受領証の連鎖が途切れています。相手先に連絡してください。',
  },
  RECEIPT_KEYS_INVALID: {
    class: 'permanent',
    sentence: '{path} is not a set of Ed25519 public keys.',
    hint: 'It must be the file `receipt.jwks` the producer gave you: {"keys":[{"kty":"OKP","crv":"Ed25519","x":"…"}]}.',
    ja: '受領証の鍵ファイルの形式が正しくありません。相手先から受け取った receipt.jwks を指定してください。',
  },

  // HL7 v2 listener (source/hl7v2)
  HL7_LISTEN_FAILED: {
    class: 'transient',
    sentence: 'HL7 messages cannot be received at {host}:{port}: {reason}.',
    hint: 'EADDRINUSE: another program has this port. EADDRNOTAVAIL: this server does not have this address. EACCES: choose a port above 1023. Correct `listen`, or stop the other program.',
    ja: 'HL7 の受信ポートを開けません。listen のアドレスとポート、他のプログラムの使用を確認してください。',
  },
  HL7_UNREACHABLE: {
    class: 'transient',
    sentence: 'The HL7 listener does not answer at its own address {host}:{port}: {reason}.',
    hint: 'A firewall on this server may block the port. If it lasts, restart the connector: senders keep what was not acknowledged.',
    ja: 'HL7 受信ポートが自分自身から応答しません。ファイアウォールを確認し、続く場合は再起動してください。',
  },
  HL7_TLS_UNUSABLE: {
    class: 'permanent',
    sentence: 'The certificate {path} cannot be used for HL7 over TLS: {reason}.',
    hint: 'Check that `tls.cert`, `tls.key` and `tls.ca` are PEM files and that the key belongs to the certificate.',
    ja: 'HL7 受信用の証明書を使用できません。証明書・秘密鍵・CA の組み合わせを確認してください。',
  },
  HL7_TLS_REFUSED: {
    class: 'permanent',
    sentence: 'A sender of HL7 messages was turned away in the TLS handshake.',
    hint: 'The word beside it says why (expired, no-certificate, unknown-issuer, too-old …). Give the sender a certificate of the CA in `tls.ca`; it keeps its messages until then.',
    ja: 'TLS の接続を拒否しました。送信側のクライアント証明書(期限・発行元)を確認してください。',
  },
  HL7_PEER_REFUSED: {
    class: 'permanent',
    sentence: 'A connection from an address that is not allowed was closed.',
    hint: 'If it is a sender of yours, add its address or network to `allow` of this source. Otherwise find out what it is: nothing of it was read.',
    ja: '許可されていないアドレスからの接続を切断しました。正当な送信元なら allow に追加してください。',
  },
  HL7_TOO_MANY_CONNECTIONS: {
    class: 'transient',
    sentence: 'A connection was closed because the listener has as many as it may.',
    hint: 'Senders normally keep one connection each. Look for one that opens new ones without closing the old, set `idleTimeout`, or raise `maxConnections`.',
    ja: '接続数が上限に達しました。接続を閉じない送信元がないか確認し、必要なら maxConnections を上げてください。',
  },
  HL7_FRAME_BROKEN: {
    class: 'transient',
    sentence: 'Bytes from a sender were not a whole MLLP frame and were dropped; they were not acknowledged.',
    hint: 'The sender repeats what was not acknowledged. If it goes on, give its vendor the word beside it: lost-end-block, bare-end-block, stray-bytes, cut-off.',
    ja: 'MLLP の枠が壊れていたため破棄しました(確認応答なし)。続く場合は送信側ベンダーに連絡してください。',
  },
  HL7_FRAME_SLOW: {
    class: 'transient',
    sentence: 'A message did not end within the time allowed and its connection was closed.',
    hint: 'The sender connects again and repeats it. If it goes on, look at the network between, or raise `frameTimeout`.',
    ja: '電文が制限時間内に終わらないため切断しました。ネットワークを確認するか frameTimeout を延ばしてください。',
  },
  HL7_NOT_A_MESSAGE: {
    class: 'permanent',
    sentence: 'What a sender sent is not an HL7 v2 message that can be kept; it was answered AR.',
    hint: 'It has no MSH segment or no message control id (MSH-10). Ask the vendor of the sending system; `kakehashi send` shows a message that is accepted.',
    ja: 'HL7 v2 として受け取れない電文に AR を返しました。MSH と MSH-10 の有無を送信側に確認してください。',
  },

  // DICOM acceptor and pull (source/dicom)
  DICOM_LISTEN_FAILED: {
    class: 'transient',
    sentence: 'Images cannot be received at {host}:{port}: {reason}.',
    hint: 'EADDRINUSE: another program has this port. EADDRNOTAVAIL: this server does not have this address. EACCES: choose a port above 1023. Correct `listen`, or stop the other program.',
    ja: '画像の受信ポートを開けません。listen のアドレスとポート、他のプログラムの使用を確認してください。',
  },
  DICOM_UNREACHABLE: {
    class: 'transient',
    sentence: 'The DICOM acceptor does not answer at its own address {host}:{port}: {reason}.',
    hint: 'A firewall on this server may block the port. If it lasts, restart the connector: senders keep what was not acknowledged.',
    ja: '画像の受信ポートが自分自身から応答しません。ファイアウォールを確認し、続く場合は再起動してください。',
  },
  DICOM_TLS_UNUSABLE: {
    class: 'permanent',
    sentence: 'The certificate {path} cannot be used for DICOM over TLS: {reason}.',
    hint: 'Check that `tls.cert`, `tls.key` and `tls.ca` are PEM files and that the key belongs to the certificate.',
    ja: '画像受信用の証明書を使用できません。証明書・秘密鍵・CA の組み合わせを確認してください。',
  },
  DICOM_TLS_REFUSED: {
    class: 'permanent',
    sentence: 'A sender of images was turned away in the TLS handshake.',
    hint: 'The word beside it says why (expired, no-certificate, unknown-issuer, too-old …). Give the sender a certificate of the CA in `tls.ca`; it keeps its images until then.',
    ja: 'TLS の接続を拒否しました。送信側のクライアント証明書（期限・発行元）を確認してください。',
  },
  DICOM_PEER_REFUSED: {
    class: 'permanent',
    sentence: 'A connection from an address that is not allowed was closed.',
    hint: 'If it is a modality or PACS of yours, add its address or network to `allow` of this source. Otherwise find out what it is: nothing of it was read.',
    ja: '許可されていないアドレスからの接続を切断しました。院内の装置なら allow に追加してください。',
  },
  DICOM_AE_REFUSED: {
    class: 'permanent',
    sentence: 'An association was rejected because of its AE titles.',
    hint: 'called-ae: the sender must call us by `aeTitle` (or set `anyCalledAe`). calling-ae: add the sender to `callingAeTitles`.',
    ja: 'AE タイトルが一致しないため接続を拒否しました。送信側の宛先 AE タイトルと callingAeTitles を確認してください。',
  },
  DICOM_TOO_MANY_ASSOCIATIONS: {
    class: 'transient',
    sentence: 'An association was rejected because there are as many as there may be.',
    hint: 'The sender tries again by itself. If it lasts, look for a sender that opens associations without closing them, or raise `maxAssociations` and `maxAssociationsPerAe`.',
    ja: '同時接続数が上限に達しました。送信側は自動的に再試行します。続く場合は maxAssociations を上げてください。',
  },
  DICOM_TOO_SLOW: {
    class: 'transient',
    sentence: 'An association was ended because the sender kept us waiting too long.',
    hint: 'What it had not finished is sent again by it. If it goes on, look at the network between, or raise `idleTimeout`.',
    ja: '送信側の応答が遅いため接続を終了しました。続く場合はネットワークを確認するか idleTimeout を延ばしてください。',
  },
  DICOM_PROTOCOL_BROKEN: {
    class: 'permanent',
    sentence: 'What a sender sent is not DICOM: {fault}.',
    hint: 'Its association was aborted and nothing of that image was kept. If it is a modality of yours, give the word to its vendor; otherwise something is scanning this port.',
    ja: 'DICOM として解釈できない通信のため切断しました。院内の装置であればベンダーに連絡してください。',
  },
  DICOM_CUT_OFF: {
    class: 'transient',
    sentence: 'An association ended in the middle of an image ({how}); nothing of that image was kept.',
    hint: 'The sender repeats what was not acknowledged. If it goes on, look at the network between.',
    ja: '画像の受信中に接続が切れたため、その画像は破棄しました。送信側が再送します。続く場合はネットワークを確認してください。',
  },
  DICOM_NOT_AN_INSTANCE: {
    class: 'permanent',
    sentence: 'An object without a usable SOP Class or Instance UID was refused (status C000).',
    hint: 'The sender breaks the standard (PS3.4 B.2) and must be corrected by its vendor; other objects of it are taken.',
    ja: 'SOP クラス UID または SOP インスタンス UID が正しくない画像を拒否しました。送信側ベンダーに連絡してください。',
  },
  PACS_UNREACHABLE: {
    class: 'transient',
    sentence: 'The PACS at {peer} cannot be reached: {reason}.',
    hint: 'Check `query.host` and `query.port`, the firewall between, and whether the PACS runs. It is tried again at the next poll.',
    ja: 'PACS に接続できません。query の host・port、ファイアウォール、PACS の稼働を確認してください。',
  },
  PACS_REFUSED: {
    class: 'permanent',
    sentence: 'The PACS at {peer} rejected the association: {reason}.',
    hint: 'Ask the PACS administrator to register our AE title (`aeTitle`) with query and retrieve rights, and check `query.aeTitle`.',
    ja: 'PACS が接続を拒否しました。当機の AE タイトルの登録と query.aeTitle を PACS 管理者に確認してください。',
  },
  PACS_CUT: {
    class: 'transient',
    sentence: 'The PACS at {peer} ended the association before its answer was complete: {reason}.',
    hint: 'What it had said is not believed; the next poll asks again. If it goes on, look into the log of the PACS at this time.',
    ja: 'PACS の応答が途中で切れました。次の周期で再試行します。続く場合は PACS のログを確認してください。',
  },
  PACS_TOO_SLOW: {
    class: 'transient',
    sentence: 'The PACS at {peer} did not answer within {limitMs} ms.',
    hint: 'It is asked again at the next poll. If it goes on, poll at a quieter hour, or raise `queryTimeout` or `moveTimeout`.',
    ja: 'PACS が制限時間内に応答しません。続く場合は取得時刻を変えるか、queryTimeout・moveTimeout を延ばしてください。',
  },
  PACS_FAILED: {
    class: 'transient',
    sentence: 'The PACS at {peer} answered {service} with status {status}.',
    hint: 'It is asked again at the next poll. If it goes on, give the status and the time to the PACS administrator.',
    ja: 'PACS が処理に失敗しました。続く場合は状態番号と時刻を PACS 管理者に伝えてください。',
  },
  PACS_DESTINATION_UNKNOWN: {
    class: 'permanent',
    sentence: 'The PACS at {peer} does not know where to send images for "{aeTitle}".',
    hint: 'Ask the PACS administrator to register this AE title as a move destination, with the address and port of this server.',
    ja: 'PACS に当機が送信先として登録されていません。AE タイトル・アドレス・ポートの登録を PACS 管理者に依頼してください。',
  },
  PACS_INCOMPLETE: {
    class: 'transient',
    sentence: 'The PACS lists images of a study that it did not send.',
    hint: 'They are asked for again, later and later. If the number does not shrink in a few days, look at the study in the PACS: images may be offline or damaged.',
    ja: 'PACS の一覧にある画像が届いていません。自動的に再要求します。数日減らない場合は PACS 側の画像（オフライン・破損）を確認してください。',
  },

  // FHIR server (source/fhir)
  FHIR_BUSY: {
    class: 'transient',
    sentence: 'The FHIR server {peer} asks us to wait: status {status}.',
    hint: 'It is tried again by itself. If it lasts, ask the vendor of the EHR for its request limit, lower `count`, or choose a quieter hour in `schedule`.',
    ja: 'FHIR サーバーが混雑しています。自動で再試行します。続く場合は count を下げるか、schedule を空いている時間帯にしてください。',
  },
  FHIR_FAILED: {
    class: 'transient',
    sentence: 'The FHIR server {peer} answered with a fault of its own: status {status}.',
    hint: 'It is tried again by itself, with smaller questions. If it lasts for hours, give the status and the time to the vendor of the EHR.',
    ja: 'FHIR サーバーで障害が発生しています。自動で再試行します。続く場合は状態番号と時刻をベンダーに伝えてください。',
  },
  FHIR_DENIED: {
    class: 'permanent',
    sentence: 'The FHIR server {peer} does not let us read: status {status}.',
    hint: 'Check `auth` of this source, and ask the administrator of the EHR whether this user or client may still read.',
    ja: 'FHIR サーバーが読み取りを拒否しました。auth の設定と、電子カルテ側の権限を確認してください。',
  },
  FHIR_REFUSED: {
    class: 'permanent',
    sentence: 'The FHIR server {peer} refused a question: status {status}, issues {issues}.',
    hint: 'Compare `url` with what the vendor gave you; `kakehashi check --live` shows what the server offers. Give status and issues to the vendor.',
    ja: 'FHIR サーバーが要求を拒否しました。url を確認し、状態番号と issues をベンダーに伝えてください。',
  },
  FHIR_REDIRECTED: {
    class: 'permanent',
    sentence: 'The FHIR server {peer} sends us elsewhere: status {status}.',
    hint: 'Redirects are not followed, because what they name was not agreed; nothing was sent there. Put the final address into `url`.',
    ja: 'FHIR サーバーが別の場所への転送を返しました。転送には従いません。正しいアドレスを url に設定してください。',
  },
  FHIR_ANSWER_INVALID: {
    class: 'transient',
    sentence: 'An answer of the FHIR server {peer} is not what FHIR promises: {reason}.',
    hint: 'Often a maintenance or login page of something in between; it is tried again by itself. If it lasts, open `url`/metadata in a browser on this server.',
    ja: 'FHIR サーバーの応答が FHIR の形式ではありません（保守画面など）。自動で再試行します。続く場合は url の /metadata をブラウザで確認してください。',
  },
  FHIR_BAD_JSON: {
    class: 'transient',
    sentence: 'A page of the FHIR server is not JSON that can be taken: {reason} at byte {offset}.',
    hint: 'Nothing of that page was taken. It is asked for again in smaller parts, and what stays unreadable is noted as a gap: tell the vendor of the EHR.',
    ja: 'FHIR サーバーの応答の JSON が壊れています。小さく分けて再取得し、読めない部分は欠落として記録します。ベンダーに連絡してください。',
  },
  FHIR_PAGE_TOO_LARGE: {
    class: 'permanent',
    sentence: 'The FHIR server sent {what} of more than {limitBytes} bytes.',
    hint: 'It is asked for again in smaller pages. If a single resource is that large, raise `maxPage`; until then it is noted as a gap.',
    ja: 'FHIR サーバーの1ページが上限を超えています。小さく分けて再取得します。1件で超える場合は maxPage を上げてください。',
  },
  FHIR_PAGING_BROKEN: {
    class: 'transient',
    sentence: 'The FHIR server {peer} does not page through {type} as it should: {reason}.',
    hint: 'It is asked again in shorter stretches of time, and what stays doubtful is noted as a gap. Tell the vendor of the EHR the word above.',
    ja: 'FHIR サーバーのページ送りが正しくありません。期間を短くして再取得し、確認できない部分は欠落として記録します。ベンダーに連絡してください。',
  },
  FHIR_OTHER_ORIGIN: {
    class: 'permanent',
    sentence: 'The FHIR server {peer} names a next page on another server; it was not followed.',
    hint: 'Nothing was sent there. Ask the vendor of the EHR to set the base address of the server to the one in `url`, or put the address it uses into `url`.',
    ja: '次ページのリンクが別のサーバーを指しているため従いませんでした。サーバーの公開アドレスと url を一致させてください。',
  },
  FHIR_VERSION: {
    class: 'permanent',
    sentence: 'The server {peer} does not speak FHIR R4 (4.0.x).',
    hint: 'Ask the vendor of the EHR for the address of its R4 interface and put it into `url`.',
    ja: 'FHIR R4 (4.0.x) のサーバーではありません。R4 のアドレスをベンダーに確認し、url に設定してください。',
  },
  FHIR_NOTHING_OFFERED: {
    class: 'permanent',
    sentence: 'The FHIR server {peer} lets us search for none of the configured types.',
    hint: 'Compare `types` with the CapabilityStatement (`url`/metadata) and ask the administrator of the EHR for search rights.',
    ja: '設定した種類のリソースを検索できません。types と /metadata を照合し、検索権限を確認してください。',
  },
  FHIR_TOKEN_REFUSED: {
    class: 'permanent',
    sentence: 'The token server {peer} gives us no token: status {status}, {error}.',
    hint: 'Ask the administrator of the EHR whether clientId, public key (kid) and scope are registered as in `auth`. If the clock of this server is wrong, correct it.',
    ja: 'トークンを取得できません。clientId・公開鍵 (kid)・scope の登録と、本サーバーの時計を確認してください。',
  },
  FHIR_TOKEN_FAILED: {
    class: 'transient',
    sentence: 'The token server {peer} did not answer as it should: {reason}.',
    hint: 'It is tried again by itself. If it lasts, check `auth.tokenUrl` and tell the administrator of the EHR.',
    ja: 'トークンサーバーの応答が正しくありません。自動で再試行します。続く場合は auth.tokenUrl を確認してください。',
  },
  FHIR_KEY_UNUSABLE: {
    class: 'permanent',
    sentence: 'The private key of the FHIR source cannot be used: {reason}.',
    hint: '`auth.key` must name a private key as PEM or JWK: EC P-384 for ES384, RSA for RS384.',
    ja: 'FHIR 用の秘密鍵を使用できません。auth.key に PEM か JWK の秘密鍵（ES384 は P-384、RS384 は RSA）を指定してください。',
  },

  // SS-MIX2 scan (source/ssmix2)
  SSMIX2_ROOT_UNREADABLE: {
    class: 'transient',
    sentence: 'The SS-MIX2 storage {root} cannot be read: {reason}.',
    hint: 'Check that the share is mounted on this server and that the service user may read it (`empty`: the mount point is there and nothing is mounted on it). It is tried again by itself and goes on where it stopped.',
    ja: 'SS-MIX2 の共有フォルダを読めません。マウントと読み取り権限を確認してください。復旧後は中断した位置から自動的に再開します。',
  },
  SSMIX2_FOLDER_UNREADABLE: {
    class: 'permanent',
    sentence: 'Folders of the SS-MIX2 storage cannot be read: {reason}.',
    hint: 'Give the service user the right to read everything below the root; nothing else is needed. The rest of the storage was scanned, and these folders are tried again in every run.',
    ja: 'SS-MIX2 の一部のフォルダを読めません。サービスのユーザーに読み取り権限を付与してください。他のフォルダは収集済みです。',
  },
  SSMIX2_TOO_MANY_CHANGES: {
    class: 'transient',
    sentence:
      'More than {limit} files of the SS-MIX2 storage changed since the last run; the rest is taken at the next.',
    hint: 'Was the storage restored, moved or rebuilt? If so nothing is to be done: it is taken little by little. If not, `kakehashi pause` this source and ask the vendor. `changesMax` is the limit.',
    ja: 'SS-MIX2 の変更件数が上限を超えました。復元や再構築であれば対応は不要です。心当たりがなければ pause で収集を止め、ベンダーに確認してください。',
  },

  // Demo
  DEMO_NEEDS_SOURCE: {
    class: 'permanent',
    sentence: 'The demo is not part of an installed connector.',
    hint: 'It plays with the real peers of the test suite: clone the source and run `npm run demo` there. To try an installed connector, use `kakehashi send` and `kakehashi check --live`.',
    ja: 'デモはソース一式が必要です。リポジトリを取得し npm run demo を実行してください。導入済み環境では check --live を使ってください。',
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
