//! Bodies the generator writes itself: for PUBLISH, and for the `null-target`.

use crate::lamp::{BodyFormat, DeviceState};

/// The document of a state, with the words that [`crate::lamp::read`] understands.
pub fn write(
    format: BodyFormat,
    state: DeviceState,
    name: &str,
    entity: &str,
    version: u32,
) -> (&'static str, String) {
    let (name, entity) = (escape(name), escape(entity));
    if format == BodyFormat::DialogInfo {
        let (word, direction) = match state {
            DeviceState::Ringing | DeviceState::RingInUse => ("early", " direction=\"recipient\""),
            _ => ("confirmed", ""),
        };
        let held = match state {
            DeviceState::OnHold => format!(
                "<local><target uri=\"{entity}\"><param pname=\"+sip.rendering\" pvalue=\"no\"/>\
                 </target></local>"
            ),
            _ => String::new(),
        };
        // Idle is the full list of no dialogs, not a terminated one: Kamailio takes no news of a
        // dialog that was terminated once.
        let dialog = match state {
            DeviceState::NotInUse | DeviceState::Unavailable => String::new(),
            _ => format!("<dialog id=\"{name}\"{direction}><state>{word}</state>{held}</dialog>"),
        };
        let body = format!(
            "<?xml version=\"1.0\"?>\n<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" \
             version=\"{version}\" state=\"full\" entity=\"{entity}\">{dialog}</dialog-info>\n"
        );
        return ("application/dialog-info+xml", body);
    }
    if format == BodyFormat::Xpidf {
        let (status, substatus) = match state {
            DeviceState::NotInUse => ("open", "online"),
            DeviceState::Unavailable => ("closed", "offline"),
            _ => ("inuse", "onthephone"),
        };
        let body = format!(
            "<?xml version=\"1.0\"?>\n<presence><presentity uri=\"{entity};method=SUBSCRIBE\"/>\
             <atom id=\"{name}\"><address uri=\"{entity};user=ip\" priority=\"0.800000\">\
             <status status=\"{status}\"/><msnsubstatus substatus=\"{substatus}\"/>\
             </address></atom></presence>\n"
        );
        return ("application/xpidf+xml", body);
    }
    let (basic, activity, note) = match state {
        DeviceState::NotInUse => ("open", "", "Ready"),
        DeviceState::Unavailable => ("closed", "", "Unavailable"),
        DeviceState::Ringing | DeviceState::RingInUse => {
            ("open", "<rpid:on-the-phone/>", "Ringing")
        }
        DeviceState::OnHold => ("open", "<rpid:on-the-phone/>", "On hold"),
        DeviceState::InUse | DeviceState::Busy => ("open", "<rpid:on-the-phone/>", "On the phone"),
    };
    let body = format!(
        "<?xml version=\"1.0\"?>\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
         xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" \
         xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" entity=\"{entity}\">\
         <tuple id=\"t1\"><status><basic>{basic}</basic></status><note>{note}</note></tuple>\
         <dm:person id=\"p1\"><rpid:activities>{activity}</rpid:activities><dm:note>{note}\
         </dm:note></dm:person></presence>\n"
    );
    ("application/pidf+xml", body)
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}
