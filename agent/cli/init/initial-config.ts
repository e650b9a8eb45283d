import { join } from 'node:path';
import type { SecretRef } from '../../base/secret.ts';

export interface InitialConfig {
  readonly code: string;
  readonly name: string;
  readonly state: string;
  readonly siteKey: SecretRef;
  /** Public half of the recovery key. */
  readonly recipient: string;
}

const configFolder = join(import.meta.dirname, '../../../config');

/** A configuration that is valid, listens nowhere and sends nowhere, with what comes next in comments. */
export function initialConfig({ code, name, state, siteKey, recipient }: InitialConfig): string {
  // A JSON text is a YAML text in double quotes.
  const quoted = JSON.stringify;
  const [kind, value] = Object.entries(siteKey)[0] as [string, string];
  return `# yaml-language-server: $schema=${join(configFolder, 'connector.schema.json')}
# Kakehashi. Every option, with its default: ${join(configFolder, 'connector.example.yaml')}
# After a change: kakehashi check --config FILE（変更後は必ず check を実行してください）

# Who we are: the medical institution code in quotes, and the name. 医療機関コード（10桁）と名称
facility:
  code: ${quoted(code)}
  name: ${quoted(name)}

# Everything this connector keeps, encrypted. One process owns it. 状態フォルダ
state: ${quoted(state)}

keys:
  # Everything stored is sealed with this key. Back it up apart from the data. サイト鍵
  site: { ${kind}: ${quoted(value)} }
  # Public half of the recovery key that was printed. 復旧鍵の公開部分
  recovery: { recipient: ${quoted(recipient)} }

# Where records come from. Names are for ever: records are known by them. 取得元
#sources:
#  - name: ehr-feed
#    kind: hl7v2
#    listen: 127.0.0.1:2575

# Where records go, and when: bytes a second by time of day, 0 stops. 提供先（登録後に記入）
#producers:
#  - name: ldi
#    basis: article-57
#    url: https://intake.example/
#    recipients: ldi.recipients
#    receiptKeys: ldi.receipt.jwks
#    tls: { ca: ldi-ca.pem, cert: client.pem, key: client.key }
#    bandwidth: "06:00 0, 22:00 20M"
`;
}
