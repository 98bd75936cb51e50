//! RLS services, the read side: under which URIs a list server serves which lists.
//!
//! Reads `application/rls-services+xml` (RFC 4826 section 4). A service holds its list or says
//! where it is; lists are read by [`crate::resource_lists`].

use crate::facts::{FactsError, NS_RLS_SERVICES};
use crate::limits::LIST_ITEM_COUNT_MAX;
use crate::resource_lists::{ListReader, ResourceList, list_tag, need};
use crate::xml::{XmlElement, XmlVisitor, visit};

/// The facts of one rls-services document.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RlsServices {
    /// The services, in order.
    pub services: Vec<RlsService>,
}

/// One URI to subscribe to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RlsService {
    /// The URI.
    pub uri: String,
    /// Whom it stands for.
    pub members: ServiceMembers,
    /// Event packages it is for; none means any.
    pub packages: Vec<String>,
}

/// Where a service's list is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServiceMembers {
    /// In the service.
    List(ResourceList),
    /// Elsewhere, an HTTP URI of one list element.
    Elsewhere(String),
}

impl RlsServices {
    /// Reads a document.
    ///
    /// # Errors
    ///
    /// [`FactsError`]: no XML, another document, a service without URI or list, and those of the
    /// lists in it.
    pub fn parse(document: &[u8]) -> Result<RlsServices, FactsError> {
        let mut visitor = Visitor::default();
        visit(document, &mut visitor)?;
        if !visitor.is_rls_services {
            return Err(FactsError::WrongRoot { expected: "rls-services" });
        }
        visitor.reader.finish()?;
        if let Some(problem) = visitor.problem {
            return Err(problem);
        }
        Ok(RlsServices { services: visitor.services })
    }
}

#[derive(Default)]
struct Visitor {
    is_rls_services: bool,
    services: Vec<RlsService>,
    /// The service at hand.
    uri: Option<String>,
    elsewhere: Option<String>,
    list: Option<ResourceList>,
    packages: Vec<String>,
    package_count: usize,
    reader: ListReader,
    problem: Option<FactsError>,
}

impl Visitor {
    fn open_service(&mut self, element: &XmlElement) {
        match need(element, "uri", "uri of service") {
            Ok(uri) => self.uri = Some(uri),
            Err(problem) => _ = self.problem.get_or_insert(problem),
        }
        (self.elsewhere, self.list) = (None, None);
        self.packages.clear();
    }

    fn close_service(&mut self) {
        let elsewhere = self.elsewhere.take().map(|uri| uri.trim().to_owned());
        let elsewhere = elsewhere.filter(|uri| !uri.is_empty()).map(ServiceMembers::Elsewhere);
        let members = self.list.take().map(ServiceMembers::List).or(elsewhere);
        let packages = self.packages.drain(..).map(|name| name.trim().to_owned()).collect();
        match (self.uri.take(), members) {
            (Some(uri), Some(members)) => {
                self.services.push(RlsService { uri, members, packages });
            }
            (None, _) => {}
            (_, None) => {
                let missing = FactsError::Missing { what: "list of service" };
                self.problem.get_or_insert(missing);
            }
        }
    }

    fn open_package(&mut self) {
        self.package_count += 1;
        if self.package_count > LIST_ITEM_COUNT_MAX {
            let problem = FactsError::TooMany { what: "packages", max: LIST_ITEM_COUNT_MAX };
            self.problem.get_or_insert(problem);
        }
        self.packages.push(String::new());
    }
}

impl XmlVisitor for Visitor {
    fn tag(&self, element: &XmlElement) -> &'static str {
        if element.namespace != NS_RLS_SERVICES {
            return list_tag(element);
        }
        match element.local.as_str() {
            "rls-services" => "rls-services",
            "service" => "service",
            "list" => "list",
            "resource-list" => "resource-list",
            "packages" => "packages",
            "package" => "package",
            _ => "",
        }
    }

    fn start(&mut self, path: &[&'static str], element: &XmlElement) {
        match path {
            ["rls-services"] => self.is_rls_services = true,
            ["rls-services", "service"] => self.open_service(element),
            ["rls-services", "service", "resource-list"] => self.elsewhere = Some(String::new()),
            ["rls-services", "service", "packages", "package"] => self.open_package(),
            ["rls-services", "service", below @ ..] => self.reader.start(below, element),
            _ => {}
        }
    }

    fn text(&mut self, path: &[&'static str], text: &str) {
        match path {
            ["rls-services", "service", "resource-list"] => {
                self.elsewhere.get_or_insert_default().push_str(text);
            }
            ["rls-services", "service", "packages", "package"] => {
                if let Some(package) = self.packages.last_mut() {
                    package.push_str(text);
                }
            }
            ["rls-services", "service", below @ ..] => self.reader.text(below, text),
            _ => {}
        }
    }

    fn end(&mut self, path: &[&'static str]) {
        match path {
            ["rls-services", "service"] => self.close_service(),
            ["rls-services", "service", below @ ..] => {
                self.reader.end(below);
                if *below == ["list"] {
                    self.list = self.list.take().or(self.reader.take());
                }
            }
            _ => {}
        }
    }
}
